// Linux namespaces as typed values: everything but the headers that need another library (fmt.hpp, doctest.hpp) or are for tests
// (testing.hpp). Read from the bottom up, the list is the architecture: words, namespaces, what a thread does to itself, the world
// described, and the children that live in it.
#pragma once

#include "cgroup.hpp"
#include "child_error.hpp"
#include "child_process.hpp"
#include "clock_offsets.hpp"
#include "clone_flags.hpp"
#include "command.hpp"
#include "enter.hpp"
#include "error.hpp"
#include "exit_status.hpp"
#include "file_descriptor.hpp"
#include "hostname.hpp"
#include "id_map.hpp"
#include "isolation.hpp"
#include "loopback.hpp"
#include "mount.hpp"
#include "namespace.hpp"
#include "namespace_id.hpp"
#include "namespace_type.hpp"
#include "privileges.hpp"
#include "process_namespaces.hpp"
#include "run.hpp"
#include "stdio.hpp"
#include "unshare.hpp"
#include "version.hpp"
