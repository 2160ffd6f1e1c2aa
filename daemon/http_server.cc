#include "daemon/http_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"

namespace kvcommons {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;

constexpr Logger kLog("http");

Result<tcp::endpoint> ParseAddress(const std::string& text) {
  const auto refused = Fail(InvalidArgument(
      "http is '" + text + "'; write ADDRESS:PORT, as in 127.0.0.1:9470 or [::1]:9470"));
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return refused;
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  if (host == "localhost") host = "127.0.0.1";
  boost::system::error_code error;
  const auto address = asio::ip::make_address(host, error);
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, end, port);
  if (error || parsed.ec != std::errc() || parsed.ptr != end) return refused;
  return tcp::endpoint(address, port);
}

// One connection: reads a request, answers, reads the next. Kept alive by its pending operation.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(tcp::socket socket, const HttpHandler& handler, std::shared_ptr<void> slot)
      : stream_(std::move(socket)), handler_(handler), slot_(std::move(slot)) {}

  void Read() {
    parser_.emplace();
    parser_->header_limit(HttpServer::kMaxHeaderBytes);
    parser_->body_limit(0);
    stream_.expires_after(HttpServer::kTimeout);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](beast::error_code error, std::size_t) { self->Answer(error); });
  }

 private:
  void Answer(beast::error_code error) {
    HttpReply reply;
    bool keep = false;
    if (error == http::error::end_of_stream || error == beast::error::timeout) return Close();
    if (error == http::error::header_limit) {
      reply = {431, "text/plain", "the header is too long\n"};
    } else if (error == http::error::body_limit || error == http::error::unexpected_body) {
      reply = {413, "text/plain", "no body is read\n"};
    } else if (error) {
      if (error.category() != make_error_code(http::error::bad_method).category()) return Close();
      reply = {400, "text/plain", "this is no HTTP request\n"};
    } else {
      const auto& request = parser_->get();
      keep = request.keep_alive();
      if (request.method() != http::verb::get && request.method() != http::verb::head) {
        reply = {405, "text/plain", "only GET and HEAD are answered\n"};
      } else {
        std::string_view target(request.target().data(), request.target().size());
        reply = handler_(target.substr(0, target.find('?')));
      }
    }
    Write(std::move(reply), keep);
  }

  void Write(HttpReply reply, bool keep) {
    response_ = {};
    response_.version(11);
    response_.result(reply.status);
    response_.set(http::field::content_type, reply.content_type);
    response_.set(http::field::cache_control, "no-store");
    if (reply.status == 405) response_.set(http::field::allow, "GET, HEAD");
    response_.keep_alive(keep);
    const bool head = parser_->is_header_done() && parser_->get().method() == http::verb::head;
    const std::size_t bytes = reply.body.size();
    if (!head) response_.body() = std::move(reply.body);
    response_.content_length(bytes);
    stream_.expires_after(HttpServer::kTimeout);
    http::async_write(stream_, response_,
                      [self = shared_from_this(), keep](beast::error_code error, std::size_t) {
                        if (error || !keep) return self->Close();
                        self->Read();
                      });
  }

  void Close() {
    beast::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream_.close();
  }

  beast::tcp_stream stream_;
  const HttpHandler& handler_;
  const std::shared_ptr<void> slot_;  // counts this connection
  beast::flat_buffer buffer_{HttpServer::kMaxHeaderBytes + 1024};
  std::optional<http::request_parser<http::empty_body>> parser_;
  http::response<http::string_body> response_;
};

}  // namespace

struct HttpServer::Impl {
  explicit Impl(HttpHandler h) : handler(std::move(h)) {}

  Status Listen(const std::string& address) {
    const auto endpoint = ParseAddress(address);
    if (!endpoint) return endpoint.error();
    boost::system::error_code error;
    acceptor.open(endpoint->protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(*endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return Unavailable("http is '" + address + "': " + error.message());
    port = acceptor.local_endpoint().port();
    return Status();
  }

  void Accept() {
    acceptor.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) {
        kLog.WarningLimited("accept", "accept: " + error.message());
        // Out of descriptors, most likely: accepting again at once would spin.
        retry.expires_after(std::chrono::milliseconds(100));
        retry.async_wait([this](boost::system::error_code) { Accept(); });
        return;
      }
      // The slot's other owners are the connections that are alive.
      if (static_cast<std::size_t>(slot.use_count()) <= kMaxHttpConnections) {
        std::make_shared<Exchange>(std::move(socket), handler, slot)->Read();
      }
      Accept();
    });
  }

  const HttpHandler handler;
  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  asio::steady_timer retry{context};
  std::shared_ptr<void> slot = std::make_shared<int>(0);
  std::uint16_t port = 0;
  std::thread thread;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address,
                                                      HttpHandler handler) {
  auto impl = std::make_unique<Impl>(std::move(handler));
  KVC_FAIL_IF_ERROR(impl->Listen(address));
  impl->Accept();
  impl->thread = std::thread([&context = impl->context] { context.run(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::~HttpServer() {
  impl_->context.stop();
  impl_->thread.join();
}

std::uint16_t HttpServer::port() const { return impl_->port; }

}  // namespace kvcommons
