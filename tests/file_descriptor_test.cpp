#include <fcntl.h>
#include <sys/resource.h>

#include <cloister/file_descriptor.hpp>

#include "caught.hpp"
#include "support.hpp"

using cloister::Error, cloister::FileDescriptor;

namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

int open_null() {
  int const fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  REQUIRE(fd >= 0);
  return fd;
}

}  // namespace

TEST_CASE("an owner closes its descriptor when it ends") {
  test::Unchanged const unchanged;
  int const fd = open_null();
  {
    FileDescriptor const owner = FileDescriptor::adopt(fd);
    CHECK(owner);
    CHECK(owner.get() == fd);
    CHECK(is_open(fd));
  }
  CHECK_FALSE(is_open(fd));
}

TEST_CASE("an owner of nothing is empty, and so is one of a negative number") {
  CHECK_FALSE(FileDescriptor{});
  CHECK(FileDescriptor{}.get() == -1);
  CHECK(FileDescriptor{}.release() == -1);
  for (int const none : {-1, -2, AT_FDCWD, -EBADF}) {
    CHECK_FALSE(FileDescriptor::adopt(none));
    CHECK(FileDescriptor::adopt(none).get() == -1);
  }
}

TEST_CASE("descriptor 0 is one like any other") {
  CHECK(test::in_fork([] {
          ::close(0);
          if (::open("/dev/null", O_RDONLY) != 0) return false;
          {
            FileDescriptor const owner = FileDescriptor::adopt(0);
            if (!owner || owner.get() != 0) return false;
          }
          return !is_open(0);
        }) == 0);
}

TEST_CASE("an owner belongs to one variable, moves without a throw, and is made from a number only by name") {
  static_assert(!std::is_copy_constructible_v<FileDescriptor> && !std::is_copy_assignable_v<FileDescriptor>);
  static_assert(std::is_nothrow_move_constructible_v<FileDescriptor>);
  static_assert(std::is_nothrow_move_assignable_v<FileDescriptor>);
  static_assert(!std::is_constructible_v<FileDescriptor, int> && !std::is_convertible_v<FileDescriptor, int>);
  static_assert(!std::is_convertible_v<FileDescriptor, bool>);
  static_assert(!std::equality_comparable<FileDescriptor>);
}

TEST_CASE("a moved-from owner is empty, can be used again, and closes nothing") {
  test::Unchanged const unchanged;
  int const fd = open_null();
  FileDescriptor from = FileDescriptor::adopt(fd);
  {
    FileDescriptor const to = std::move(from);
    CHECK(to.get() == fd);
    CHECK_FALSE(from);
    CHECK(from.get() == -1);
    from.reset();
    CHECK(is_open(fd));
  }
  CHECK_FALSE(is_open(fd));
  from = FileDescriptor::adopt(open_null());
  CHECK(from);
}

TEST_CASE("assigning closes what was owned, and an owner survives being assigned to itself") {
  test::Unchanged const unchanged;
  int const first = open_null();
  int const second = open_null();
  FileDescriptor owner = FileDescriptor::adopt(first);
  owner = FileDescriptor::adopt(second);
  CHECK_FALSE(is_open(first));
  CHECK(owner.get() == second);
  FileDescriptor& same = owner;
  owner = std::move(same);
  CHECK(owner.get() == second);
  CHECK(is_open(second));
  owner = FileDescriptor{};
  CHECK_FALSE(is_open(second));
}

TEST_CASE("release() gives the descriptor away, and reset() closes it, each also when there is none") {
  test::Unchanged const unchanged;
  int const fd = open_null();
  FileDescriptor owner = FileDescriptor::adopt(fd);
  CHECK(owner.release() == fd);
  CHECK(owner.release() == -1);
  CHECK(is_open(fd));
  owner = FileDescriptor::adopt(fd);
  owner.reset();
  CHECK_FALSE(is_open(fd));
  owner.reset();
  CHECK_FALSE(owner);
}

TEST_CASE("a descriptor that is closed already is let go in silence, and errno stays as it was") {
  int const fd = open_null();
  FileDescriptor owner = FileDescriptor::adopt(fd);
  ::close(fd);
  errno = ENOTTY;
  owner.reset();
  CHECK(errno == ENOTTY);
}

TEST_CASE("a duplicate is another number of the same open file, closed by execve, and lives on by itself") {
  test::Unchanged const unchanged;
  test::TemporaryDirectory const directory;
  FileDescriptor original = FileDescriptor::adopt(::open((directory / "file").c_str(), O_RDWR | O_CREAT, 0600));
  REQUIRE(original);
  FileDescriptor const copy = FileDescriptor::duplicate(original.get());
  CHECK(copy.get() != original.get());
  CHECK(::fcntl(copy.get(), F_GETFD) == FD_CLOEXEC);
  CHECK(::write(original.get(), "abc", 3) == 3);
  CHECK(::lseek(copy.get(), 0, SEEK_CUR) == 3);
  original.reset();
  CHECK(is_open(copy.get()));
}

TEST_CASE("what is not open cannot be duplicated") {
  test::Unchanged const unchanged;
  int const closed = open_null();
  ::close(closed);
  for (int const fd : {closed, -1, 1 << 30}) {
    Error const error = test::caught<Error>([&] { (void)FileDescriptor::duplicate(fd); });
    CHECK(error.code().value() == EBADF);
    CHECK(error.what() == std::string("cloister: dup: Bad file descriptor"));
  }
}

TEST_CASE("where no more descriptors are allowed, none is duplicated") {
  CHECK(test::in_fork([] {
          rlimit const few{16, 16};
          if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 2;
          while (::open("/dev/null", O_RDONLY) >= 0) {
          }
          try {
            (void)FileDescriptor::duplicate(0);
          } catch (Error const& error) {
            return error.code() == std::errc::too_many_files_open ? 0 : 3;
          }
          return 4;
        }) == 0);
}
