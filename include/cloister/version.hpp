// The version of cloister, and the only place where it stands: the build reads it from here.
#pragma once

#define CLOISTER_VERSION_MAJOR 0
#define CLOISTER_VERSION_MINOR 1
#define CLOISTER_VERSION_PATCH 0
