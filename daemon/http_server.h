// HttpServer: answers GET and HEAD for operators, on a thread of its own.
//
// Small on purpose: no bodies are read, headers are limited to kMaxHeaderBytes, a connection has
// kTimeout for each request, and kMaxHttpConnections are served at a time; more are closed at once.
// Thread safety: the handler is called on the server's thread.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kvcommons {

struct HttpReply {
  unsigned status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// `target` is the request's path, without its query.
using HttpHandler = std::function<HttpReply(std::string_view target)>;

class HttpServer {
 public:
  static constexpr std::size_t kMaxHeaderBytes = 8192;
  static constexpr std::size_t kMaxHttpConnections = 64;
  static constexpr std::chrono::seconds kTimeout{10};

  // `address` is "127.0.0.1:9470" or "[::1]:9470"; port 0 takes any free one.
  static Result<std::unique_ptr<HttpServer>> Start(const std::string& address, HttpHandler handler);
  ~HttpServer();  // Stops and joins.
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::uint16_t port() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace kvcommons
