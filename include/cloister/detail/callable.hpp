// The callable's frame in the child: nothing leaves it but a message and _exit.
#pragma once

#include <cxxabi.h>
#include <fcntl.h>
#include <stdio_ext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <memory>
#include <typeinfo>
#if defined(__GLIBCXX__)
#include <ext/stdio_sync_filebuf.h>
#endif

#include "codec.hpp"
#include "launch.hpp"

namespace cloister::detail {

// What a stream buffer holds that has not been written, by its put area.
struct PutArea : std::streambuf {
  static std::ptrdiff_t pending(std::streambuf& buffer) noexcept { return (buffer.*&PutArea::pptr)() - (buffer.*&PutArea::pbase)(); }
  static void forget(std::streambuf& buffer) noexcept {
    for (std::ptrdiff_t left; (left = pending(buffer)) > 0;)
      (buffer.*&PutArea::pbump)(-static_cast<int>(std::min<std::ptrdiff_t>(left, 1 << 30)));
  }
};

// Whether it is what cout has unless told otherwise: nothing but a way to stdout.
inline bool leads_to_stdio(std::streambuf& buffer) noexcept {
#if defined(__GLIBCXX__)
  return typeid(buffer) == typeid(__gnu_cxx::stdio_sync_filebuf<char>);
#else
  (void)buffer;
  return false;
#endif
}

// Forgets what the host had written but not flushed: those bytes are the host's to write, and exist here only because memory was
// copied. Streams other than stdout, stderr, cout and clog keep theirs, and would write them twice if the callable flushed them.
// Here as in flush_output a stream that holds nothing is not touched: each library function first called, and each page first
// touched after a fork costs more than all the system calls of a child.
inline void forget_unflushed_output() noexcept {
  for (std::FILE* stream : {stdout, stderr})
    if (::__fpending(stream) > 0) ::__fpurge(stream);
  for (std::ostream* stream : {&std::cout, &std::clog})
    if (std::streambuf* const buffer = stream->rdbuf(); buffer != nullptr && PutArea::pending(*buffer) > 0)
      if (dynamic_cast<std::filebuf*>(buffer) != nullptr) PutArea::forget(*buffer);  // another may be memory, not output
}

inline void flush_output() noexcept {
  try {
    for (std::ostream* stream : {&std::cout, &std::cerr, &std::clog})
      if (std::streambuf* const buffer = stream->rdbuf(); buffer != nullptr && !leads_to_stdio(*buffer)) stream->flush();
  } catch (...) {  // the stream has been asked to throw: the output is lost as with any other failing stream
  }
  for (std::FILE* stream : {stdout, stderr})
    if (::__fpending(stream) > 0) (void)std::fflush(stream);
}

inline std::string demangled(std::type_info const& type) {
  struct Freed {
    ~Freed() { std::free(name); }
    char* name;
  } const demangled{abi::__cxa_demangle(type.name(), nullptr, nullptr, nullptr)};
  return demangled.name != nullptr ? demangled.name : type.name();
}

inline void send_failure(ChildSide const& side, Step step, long error) noexcept {
  send_message(side.channel, MessageKind::failed, step, static_cast<int>(-error));
}

// A large text goes into a sealed memfd, so that neither side waits for the other and nothing changes under the reader's eyes.
inline void send_text(ChildSide const& side, MessageKind kind, std::string_view text) noexcept {
  Message const message{kind, Step::none, 0, 0, text.size()};
  if (text.size() <= largest_inline) {
    long const sent = send_message(side.channel, message, text.data(), text.size(), -1, MSG_DONTWAIT);
    if (sent == 0) return;
    if (sent != -EAGAIN && sent != -ENOBUFS) return send_failure(side, Step::write_result, sent);
  }
  int const fd = sys::memfd_create("cloister-result", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return send_failure(side, Step::memfd, fd);
  SuppressedSignal const no_sigxfsz{SIGXFSZ};
  for (std::size_t done = 0; done < text.size();) {
    long const written = sys::write(fd, text.data() + done, text.size() - done);
    if (written <= 0) return send_failure(side, Step::write_result, written < 0 ? written : -EIO);
    done += static_cast<std::size_t>(written);
  }
  if (int const sealed = sys::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL); sealed < 0)
    return send_failure(side, Step::write_result, sealed);
  if (long const sent = send_message(side.channel, message, nullptr, 0, fd); sent < 0)
    send_failure(side, Step::write_result, sent);
}

inline void send_exception(ChildSide const& side, std::type_info const* type, std::string_view what) noexcept {
  constexpr std::string_view unknown = "an unknown type";
  try {
    std::string text = type != nullptr ? demangled(*type) : std::string(unknown);
    text += '\0';
    text += what;
    send_text(side, MessageKind::threw, text);
  } catch (...) {  // no memory for the text: the type's name has to do
    send_text(side, MessageKind::threw, type != nullptr ? type->name() : unknown);
  }
}

// Runs the callable as an rvalue and sends what comes of it. A process that the callable forked, and that returns from it as well,
// sends nothing: it is not the child that the parent asked.
template <class R, class F>
__attribute__((no_sanitize("null")))  // a forced unwind is caught as a reference to nothing
void run_callable(void* self, ChildSide const& side) noexcept {
  forget_unflushed_output();
  ThisProcess const child;
  int status = 1;
  try {
    Encoder encoder;
    if constexpr (std::is_void_v<R>)
      std::move(*static_cast<F*>(self))();
    else
      encoder.put(static_cast<R>(std::move(*static_cast<F*>(self))()));
    if (child.is_it()) send_text(side, MessageKind::result, encoder.text());
    status = 0;
  } catch (abi::__forced_unwind&) {  // pthread_exit: must not be swallowed, so it ends here
    flush_output();
    sys::exit(0);
  } catch (std::exception const& e) {
    if (child.is_it()) send_exception(side, &typeid(e), e.what());
  } catch (...) {
    if (child.is_it()) send_exception(side, abi::__cxa_current_exception_type(), {});
  }
  flush_output();
  sys::exit(status);
}

// Starts a callable. The dynamic linker binds a function at its first call, which in a fresh copy of the host costs a dozen page
// faults, in every child again: what each child calls is therefore called once here.
template <class R, class F>
Running launch_callable(Plan const& plan, F& callable, Deadline const* linger) {
  (void)::__fpending(stdout);
  return launch_by_fork(plan, {run_callable<R, F>, &callable}, linger);
}

// Reads what a child put into a memfd, if it is one that nobody can change any more: a file of another kind could make us wait.
inline std::string read_memfd(int fd, std::uint64_t size) {
  auto const refuse = [](int error, char const* why) {
    throw Error(error, name_of(Step::read_result), {}, Error::Side::parent, why);
  };
  constexpr int sealed = F_SEAL_SHRINK | F_SEAL_WRITE;
  int const seals = sys::fcntl(fd, F_GET_SEALS);
  struct ::stat facts {};
  if (seals < 0 || (seals & sealed) != sealed || sys::fstat(fd, &facts) < 0)
    refuse(EBADMSG, "the child sent a descriptor that is no sealed memfd");
  if (size > largest_result) refuse(EFBIG, "a result may have 1 GiB");
  if (static_cast<std::uint64_t>(facts.st_size) != size) refuse(EBADMSG, "the child announced another size");
  std::string text(static_cast<std::size_t>(size), '\0');
  for (std::size_t done = 0; done < text.size();) {
    long const got = sys::pread(fd, text.data() + done, text.size() - done, static_cast<long>(done));
    if (got <= 0) refuse(got < 0 ? static_cast<int>(-got) : EBADMSG, "the child's memfd ended early");
    done += static_cast<std::size_t>(got);
  }
  return text;
}

}  // namespace cloister::detail
