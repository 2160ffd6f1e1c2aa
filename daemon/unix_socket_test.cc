#include "daemon/unix_socket.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "daemon/staging.h"
#include "daemon/tenant.h"

namespace kvcommons {
namespace {

class UnixSocketTest : public testing::Test {
 protected:
  UnixSocketTest() {
    folder_ = testing::TempDir() + "/kvcommons_socket_XXXXXX";
    if (mkdtemp(folder_.data()) == nullptr) std::abort();
    path_ = folder_ + "/run/d.sock";
  }
  ~UnixSocketTest() override { std::filesystem::remove_all(folder_); }

  // A socket file with nobody behind it, as a killed daemon leaves it.
  void LeaveStaleSocket() {
    std::filesystem::create_directories(folder_ + "/run");
    const int fd = BoundSocket();
    close(fd);
  }
  int BoundSocket() {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
    EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  static mode_t ModeOf(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(lstat(path.c_str(), &info), 0);
    return info.st_mode & 0777;
  }

  std::string folder_;
  std::string path_;
};

TEST_F(UnixSocketTest, FolderAndSocketAreForTheirUserOnly) {
  auto socket = ListeningSocket::Open(path_, 0600);
  ASSERT_TRUE(socket) << socket.error().ToString();
  EXPECT_EQ(ModeOf(path_), 0600u);
  EXPECT_EQ(ModeOf(folder_ + "/run"), 0700u);
}

TEST_F(UnixSocketTest, TheModeIsTheOneAskedForWhateverTheUmask) {
  const mode_t before = umask(0077);
  auto socket = ListeningSocket::Open(path_, 0666);
  umask(before);
  ASSERT_TRUE(socket);
  EXPECT_EQ(ModeOf(path_), 0666u);
}

TEST_F(UnixSocketTest, TheSocketIsGoneAfterwards) {
  ListeningSocket::Open(path_, 0600).value().reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(UnixSocketTest, AStaleSocketIsReplaced) {
  LeaveStaleSocket();
  auto socket = ListeningSocket::Open(path_, 0600);
  ASSERT_TRUE(socket) << socket.error().ToString();
}

TEST_F(UnixSocketTest, AServedPathIsRefusedAndLeftAlone) {
  auto first = ListeningSocket::Open(path_, 0600);
  ASSERT_TRUE(first);
  auto second = ListeningSocket::Open(path_, 0600);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::kAlreadyExists);
  EXPECT_THAT(second.error().message(), testing::HasSubstr("another daemon serves it"));
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(UnixSocketTest, AServerWithoutOurLockIsRespected) {
  std::filesystem::create_directories(folder_ + "/run");
  const int other = BoundSocket();
  ASSERT_EQ(listen(other, 1), 0);
  auto socket = ListeningSocket::Open(path_, 0600);
  ASSERT_FALSE(socket);
  EXPECT_EQ(socket.error().code(), Code::kAlreadyExists);
  close(other);
}

TEST_F(UnixSocketTest, AFileThatIsNoSocketIsLeftAlone) {
  std::filesystem::create_directories(folder_ + "/run");
  std::ofstream(path_) << "precious";
  auto socket = ListeningSocket::Open(path_, 0600);
  ASSERT_FALSE(socket);
  EXPECT_THAT(socket.error().message(), testing::HasSubstr("no socket"));
  EXPECT_EQ(std::filesystem::file_size(path_), 8u);
}

TEST_F(UnixSocketTest, APathMayHave107BytesAndNotOneMore) {
  const std::string longest = folder_ + "/" + std::string(107 - folder_.size() - 1, 's');
  EXPECT_TRUE(ListeningSocket::Open(longest, 0600));
  const auto past = ListeningSocket::Open(longest + "s", 0600);
  ASSERT_FALSE(past);
  EXPECT_THAT(past.error().message(), testing::HasSubstr("108 bytes; the limit is 1 to 107"));
}

TEST_F(UnixSocketTest, AFolderOfAnotherUserIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can make another user's folder";
  std::filesystem::create_directories(folder_ + "/run");
  ASSERT_EQ(chown((folder_ + "/run").c_str(), 12345, 12345), 0);
  const auto socket = ListeningSocket::Open(path_, 0600);
  ASSERT_FALSE(socket);
  EXPECT_EQ(socket.error().code(), Code::kPermissionDenied);
}

TEST(TenantTest, EachUserHasADomainOfItsOwn) {
  const Tenant a = TenantOfUid(1000);
  EXPECT_EQ(a.name, "uid:1000");
  EXPECT_EQ(a.domain, TenantOfUid(1000).domain);
  EXPECT_NE(a.domain, TenantOfUid(100).domain);
  EXPECT_NE(a.domain, TenantOfUid(10000).domain);
}

TEST(TenantTest, PeerCredentialsComeFromTheSocket) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  EXPECT_EQ(PeerUid(ends[0]).value(), geteuid());
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(PeerUid(-1).error().code(), Code::kPermissionDenied);
}

TEST(StagingTest, ItsSizeIsSealed) {
  auto staging = Staging::Create(5000);
  ASSERT_TRUE(staging);
  EXPECT_EQ((*staging)->bytes().size() % 4096, 0u);
  EXPECT_GE((*staging)->bytes().size(), 5000u);
  const int fd = (*staging)->fd();
  EXPECT_NE(ftruncate(fd, 0), 0) << "a client could make the daemon fault";
  EXPECT_NE(ftruncate(fd, 1 << 20), 0);
  EXPECT_NE(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
  ASSERT_EQ(pwrite(fd, "x", 1, 4999), 1);
  EXPECT_EQ((*staging)->bytes()[4999], std::byte{'x'});
}

}  // namespace
}  // namespace kvcommons
