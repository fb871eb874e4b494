// Linked with odr_b.cpp: a header that forgets an `inline` is found by the linker.
#include "every_header.hpp"
#include "support.hpp"

int major_version_in_b();

TEST_CASE("two files of one program include every header") { CHECK(major_version_in_b() == CLOISTER_VERSION_MAJOR); }
