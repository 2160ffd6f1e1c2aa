// Status and Result<T>: how a failure is told. A miss is a value (an empty optional), a failure is
// a Status whose code names the caller's next move, a bug is an assertion (base/assert.h). The
// three are never swapped, and callers of normal operations never catch.
//
// A message of an invalid argument names the field, the value and the limit:
//   return InvalidArgument("block_tokens is 512; the limit is 16 to 256");

#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace kvcommons {

// Each code is what the caller does next. Values travel over the wire: append, never renumber.
enum class Code : unsigned char {
  kOk = 0,
  kInvalidArgument = 1,   // Change the request; retrying it as it is cannot help.
  kNotFound = 2,          // Create it, or name another: what was named is not there.
  kAlreadyExists = 3,     // Drop yours: an equal one is present.
  kExhausted = 4,         // Go on without, or retry after leases or bytes were released.
  kUnavailable = 5,       // Reconnect and retry with backoff; go on without meanwhile.
  kUnsupported = 6,       // Use exact mode, or another model: this one is refused, with the reason.
  kCorrupted = 7,         // Treat as absent; an operator looks at the log.
  kPermissionDenied = 8,  // Present another credential.
  kInternal = 9,          // Report it.
};

// "invalid_argument" and so on: the word used in messages, JSON and metrics.
std::string_view CodeName(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  // "invalid_argument: block_tokens is 512; ..." or "ok".
  std::string ToString() const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

template <typename T>
using Result = tl::expected<T, Status>;

// What a function that returns Result<T> says on failure: `return Fail(InvalidArgument("..."));`.
inline tl::unexpected<Status> Fail(Status status) {
  return tl::unexpected<Status>(std::move(status));
}

Status InvalidArgument(std::string message);
Status NotFound(std::string message);
Status AlreadyExists(std::string message);
Status Exhausted(std::string message);
Status Unavailable(std::string message);
Status Unsupported(std::string message);
Status Corrupted(std::string message);
Status PermissionDenied(std::string message);
Status Internal(std::string message);

}  // namespace kvcommons

// Returns the failure of `expression` (a Status) from the enclosing function of type Status.
#define KVC_RETURN_IF_ERROR(expression)                                                     \
  do {                                                                                      \
    if (::kvcommons::Status kvc_status = (expression); !kvc_status.ok()) return kvc_status; \
  } while (false)

// The same in a function of type Result<T>.
#define KVC_FAIL_IF_ERROR(expression)                                    \
  do {                                                                   \
    if (::kvcommons::Status kvc_status = (expression); !kvc_status.ok()) \
      return ::kvcommons::Fail(std::move(kvc_status));                   \
  } while (false)
