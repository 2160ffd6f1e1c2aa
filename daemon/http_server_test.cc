#include "daemon/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace kvcommons {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

int Connect(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

std::string ReadAll(int fd) {
  std::string all;
  char part[4096];
  for (ssize_t count; (count = read(fd, part, sizeof part)) > 0;) {
    all.append(part, static_cast<std::size_t>(count));
  }
  close(fd);
  return all;
}

class HttpServerTest : public testing::Test {
 protected:
  std::string Ask(const std::string& text) {
    const int fd = Connect(server_->port());
    EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    return ReadAll(fd);
  }
  std::string Get(const std::string& target, const std::string& headers = "") {
    return Ask("GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers +
               "\r\n");
  }

  std::unique_ptr<HttpServer> server_ =
      HttpServer::Start("127.0.0.1:0", [](std::string_view target) -> HttpReply {
        if (target == "/hello") return {200, "text/plain", "hello\n"};
        return {404, "text/plain", "nothing here\n"};
      }).value();
};

TEST_F(HttpServerTest, AnswersGetAndIgnoresTheQuery) {
  const std::string reply = Get("/hello?x=1");
  EXPECT_THAT(reply, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(reply, HasSubstr("Content-Length: 6\r\n"));
  EXPECT_THAT(reply, testing::EndsWith("\r\n\r\nhello\n"));
  EXPECT_THAT(Get("/other"), StartsWith("HTTP/1.1 404"));
}

TEST_F(HttpServerTest, AnswersHeadWithoutABody) {
  const std::string reply = Ask("HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(reply, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(reply, HasSubstr("Content-Length: 6\r\n"));
  EXPECT_THAT(reply, testing::EndsWith("\r\n\r\n"));
}

TEST_F(HttpServerTest, AConnectionMayAskTwice) {
  const std::string reply =
      Ask("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
          "GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(reply, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(reply, HasSubstr("HTTP/1.1 404"));
}

TEST_F(HttpServerTest, RefusesWhatItDoesNotAnswer) {
  EXPECT_THAT(Ask("DELETE /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Ask("POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Ask("\x16\x03\x01 this is not http\r\n\r\n"), StartsWith("HTTP/1.1 400"));
}

TEST_F(HttpServerTest, AHeaderHasALimit) {
  EXPECT_THAT(Get("/hello", "X: " + std::string(HttpServer::kMaxHeaderBytes - 200, 'x') + "\r\n"),
              StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get("/hello", "X: " + std::string(HttpServer::kMaxHeaderBytes, 'x') + "\r\n"),
              StartsWith("HTTP/1.1 431"));
}

TEST_F(HttpServerTest, ConnectionsOverTheLimitAreClosed) {
  std::vector<int> held;
  for (std::size_t i = 0; i < HttpServer::kMaxHttpConnections; ++i) {
    held.push_back(Connect(server_->port()));
    // Served, so that the server has seen it.
    const std::string request = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    EXPECT_EQ(write(held.back(), request.data(), request.size()),
              static_cast<ssize_t>(request.size()));
    char byte = 0;
    EXPECT_EQ(read(held.back(), &byte, 1), 1);
  }
  EXPECT_EQ(ReadAll(Connect(server_->port())), "") << "one past";
  for (const int fd : held) close(fd);
}

TEST(HttpAddressTest, IsAnAddressAndAPort) {
  const auto start = [](const char* address) {
    return HttpServer::Start(address, [](std::string_view) { return HttpReply(); });
  };
  EXPECT_TRUE(start("localhost:0"));
  for (const char* bad : {"9470", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                          "example.org:80", "::1:x", "127.0.0.1:80x"}) {
    const auto server = start(bad);
    ASSERT_FALSE(server) << bad;
    EXPECT_EQ(server.error().code(), Code::kInvalidArgument) << bad;
  }
  const auto taken = start("127.0.0.1:0");
  ASSERT_TRUE(taken);
  const auto second = start(("127.0.0.1:" + std::to_string((*taken)->port())).c_str());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace kvcommons
