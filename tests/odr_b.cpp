#include "every_header_backwards.hpp"
#include "support.hpp"

int major_version_in_b();
int major_version_in_b() { return CLOISTER_VERSION_MAJOR; }
