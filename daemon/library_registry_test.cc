// Open libraries of several tenants: who makes room for whom, and what they learn of each other.

#include "daemon/library_registry.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "daemon/model_testing.h"

namespace kvcommons {
namespace {

class LibraryRegistryTest : public testing::Test {
 protected:
  LibraryRegistryTest() {
    Store::Options options;
    options.arena_bytes = 64 * kMiB;
    options.clock = &clock_;
    store_ = Store::Open(std::move(options)).value();
    registry_ = std::make_unique<LibraryRegistry>(
        *store_, clock_, LibraryLimits{.tokens = 100, .domain_tokens = 80});
  }

  // Models of different names have libraries of their own.
  std::shared_ptr<const OpenedModel> Model(std::uint64_t uid, const std::string& name = "a") {
    return SmallModel(*store_, uid, 1000, name);
  }

  std::shared_ptr<Library> Open(std::uint64_t uid, const std::string& name = "a") {
    return registry_->Open(Model(uid, name)).value();
  }

  std::string Put(Library& library, const std::string& name, std::size_t tokens) {
    const auto put = registry_->Put(library, name, TokenList(tokens, 1), {});
    return put ? "" : put.error().message();
  }

  ManualClock clock_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<LibraryRegistry> registry_;
};

TEST_F(LibraryRegistryTest, APutClosesWhatNobodyUsesBeforeItIsRefused) {
  auto other = Open(2);
  ASSERT_EQ(Put(*other, "x", 60), "");
  auto own = Open(1);
  EXPECT_EQ(Put(*own, "a", 41),
            "the daemon has no room for 41 more tokens; the limit of all open libraries is 100");
  other.reset();
  EXPECT_EQ(Put(*own, "a", 41), "");
  own.reset();
  EXPECT_EQ(Open(2)->List(10).size(), 1u);  // Closed, not lost.
}

TEST_F(LibraryRegistryTest, AnOpenClosesWhatNobodyUsesBeforeItIsRefused) {
  ASSERT_EQ(Put(*Open(2), "x", 60), "");
  auto own = Open(1);
  ASSERT_EQ(Put(*own, "a", 41), "");  // Closes the other's.
  EXPECT_EQ(registry_->Open(Model(2)).error().message(),
            "the daemon has no room for 60 more tokens; the limit of all open libraries is 100");
  own.reset();
  EXPECT_TRUE(registry_->Open(Model(2)));
}

TEST_F(LibraryRegistryTest, ATenantAtItsOwnBoundClosesOnlyItsOwnLibraries) {
  ASSERT_EQ(Put(*Open(2), "x", 20), "");
  const std::weak_ptr<Library> others = Open(2);
  std::weak_ptr<Library> first = Open(1, "first");
  ASSERT_EQ(Put(*first.lock(), "a", 50), "");
  const auto second = Open(1, "second");
  ASSERT_EQ(Put(*second, "b", 31), "");
  EXPECT_TRUE(first.expired());
  EXPECT_EQ(Put(*second, "c", 50),
            "the tenant's open libraries hold 31 tokens, asked for are 50 more; the limit is 80");
  EXPECT_EQ(Put(*second, "c", 49), "");
  EXPECT_FALSE(registry_->Open(Model(1, "first")));
  EXPECT_FALSE(others.expired());
}

TEST_F(LibraryRegistryTest, ATenantHasAQuarterOfTheLibraries) {
  std::vector<std::shared_ptr<Library>> held;
  for (std::size_t i = 0; i < LibraryRegistry::kMaxOpenOfDomain; ++i) {
    held.push_back(Open(1, std::to_string(i)));
  }
  EXPECT_EQ(registry_->Open(Model(1, "more")).error().message(),
            "the tenant has 64 libraries in use; the limit is 64");
  EXPECT_TRUE(registry_->Open(Model(1, "0")));
  EXPECT_TRUE(registry_->Open(Model(2)));
  held.pop_back();
  EXPECT_TRUE(registry_->Open(Model(1, "more")));
}

// I7.
TEST_F(LibraryRegistryTest, WhenAllLibrariesAreInUseNobodysNumberIsTold) {
  std::vector<std::shared_ptr<Library>> held;
  for (std::size_t i = 0; i < LibraryRegistry::kMaxOpen; ++i) {
    held.push_back(Open(1 + i / LibraryRegistry::kMaxOpenOfDomain, std::to_string(i)));
  }
  EXPECT_EQ(registry_->Open(Model(9)).error().message(),
            "the daemon has no room for another library; the limit of all tenants is 256");
  held.pop_back();
  EXPECT_TRUE(registry_->Open(Model(9)));
}

}  // namespace
}  // namespace kvcommons
