#include "base/status.h"

namespace kvcommons {

std::string_view CodeName(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kInvalidArgument:
      return "invalid_argument";
    case Code::kNotFound:
      return "not_found";
    case Code::kAlreadyExists:
      return "already_exists";
    case Code::kExhausted:
      return "exhausted";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kCorrupted:
      return "corrupted";
    case Code::kPermissionDenied:
      return "permission_denied";
    case Code::kInternal:
      return "internal";
  }
  return "unknown";
}

std::string Status::ToString() const {
  if (ok()) return "ok";
  return std::string(CodeName(code_)) + ": " + message_;
}

Status InvalidArgument(std::string message) {
  return Status(Code::kInvalidArgument, std::move(message));
}
Status NotFound(std::string message) { return Status(Code::kNotFound, std::move(message)); }
Status AlreadyExists(std::string message) {
  return Status(Code::kAlreadyExists, std::move(message));
}
Status Exhausted(std::string message) { return Status(Code::kExhausted, std::move(message)); }
Status Unavailable(std::string message) { return Status(Code::kUnavailable, std::move(message)); }
Status Unsupported(std::string message) { return Status(Code::kUnsupported, std::move(message)); }
Status Corrupted(std::string message) { return Status(Code::kCorrupted, std::move(message)); }
Status PermissionDenied(std::string message) {
  return Status(Code::kPermissionDenied, std::move(message));
}
Status Internal(std::string message) { return Status(Code::kInternal, std::move(message)); }

}  // namespace kvcommons
