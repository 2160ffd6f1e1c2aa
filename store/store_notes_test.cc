// What notes are held to, with a disk and without: limits, order, one domain's are its own, and
// where there is a disk, a restart.

#include <gtest/gtest.h>

#include "store/store.h"
#include "store/store_test_support.h"

namespace kvcommons {
namespace {

class StoreNotesTest : public testing::TestWithParam<bool> {
 protected:
  static bool on_disk() { return GetParam(); }
  std::unique_ptr<Store> Open() {
    return on_disk() ? OpenInFolder(folder_, 1) : OpenStore(SmallStore(1));
  }

 private:
  TestFolder folder_;
};

const DomainId kDomain = TestDomain(1);
const DomainId kOther = TestDomain(2);

std::vector<std::string> NamesOf(const Store& store, const DomainId& domain,
                                 std::string_view prefix) {
  std::vector<std::string> names;
  for (const Store::Note& note : store.ListNotes(domain, prefix)) names.push_back(note.name);
  return names;
}

TEST_P(StoreNotesTest, APutReplacesAndARemovedNoteIsGone) {
  const auto store = Open();
  EXPECT_FALSE(store->GetNote(kDomain, "a").has_value());
  EXPECT_FALSE(*store->RemoveNote(kDomain, "a"));
  ASSERT_TRUE(store->PutNote(kDomain, "a", "one").ok());
  ASSERT_TRUE(store->PutNote(kDomain, "a", std::string("t\0o", 3)).ok());
  EXPECT_EQ(store->GetNote(kDomain, "a"), std::string("t\0o", 3));
  ASSERT_TRUE(store->PutNote(kDomain, "a", "").ok());
  EXPECT_EQ(store->GetNote(kDomain, "a"), "") << "an empty note is there";
  EXPECT_TRUE(*store->RemoveNote(kDomain, "a"));
  EXPECT_FALSE(store->GetNote(kDomain, "a").has_value());
  EXPECT_FALSE(*store->RemoveNote(kDomain, "a"));
}

TEST_P(StoreNotesTest, NotesAreListedByPrefixInOrderOfNames) {
  const auto store = Open();
  EXPECT_TRUE(store->ListNotes(kDomain, "").empty());
  for (const char* name : {"team/b", "team/a", "tea", "team", "team/\xc3\xa9", "zebra"}) {
    ASSERT_TRUE(store->PutNote(kDomain, name, std::string("of ") + name).ok());
  }
  EXPECT_EQ(NamesOf(*store, kDomain, "team/"),
            (std::vector<std::string>{"team/a", "team/b", "team/\xc3\xa9"}));
  EXPECT_EQ(
      NamesOf(*store, kDomain, ""),
      (std::vector<std::string>{"tea", "team", "team/a", "team/b", "team/\xc3\xa9", "zebra"}));
  EXPECT_TRUE(NamesOf(*store, kDomain, "team/a/").empty());
  for (const Store::Note& note : store->ListNotes(kDomain, "")) {
    EXPECT_EQ(note.value, "of " + note.name);
  }
}

TEST_P(StoreNotesTest, AnotherDomainsNotesAreNeverSeen) {
  const auto store = Open();
  ASSERT_TRUE(store->SecretOf(kDomain).has_value());
  ASSERT_TRUE(store->PutNote(kDomain, "a", "mine").ok());
  const std::string foreign = kDomain.ToHex() + "/a";
  for (const std::string& name : {std::string("a"), foreign, "../" + foreign, "/" + foreign}) {
    EXPECT_FALSE(store->GetNote(kOther, name).has_value()) << name;
    EXPECT_FALSE(*store->RemoveNote(kOther, name)) << name;
  }
  for (const char* prefix : {"", "a", "note/", "secret/"}) {
    EXPECT_TRUE(store->ListNotes(kOther, prefix).empty()) << prefix;
  }
  ASSERT_TRUE(store->PutNote(kOther, "a", "other").ok());
  EXPECT_EQ(store->GetNote(kDomain, "a"), "mine");
  EXPECT_TRUE(*store->RemoveNote(kOther, "a"));
  EXPECT_EQ(store->GetNote(kDomain, "a"), "mine");
}

TEST_P(StoreNotesTest, NamesAndValuesOutOfTheirLimitsAreRefused) {
  const auto store = Open();
  const std::string name(Store::kMaxNoteNameBytes, 'n');
  const std::string value(Store::kMaxNoteBytes, 'v');
  EXPECT_TRUE(store->PutNote(kDomain, name, value).ok()) << "at the limits";
  EXPECT_EQ(store->GetNote(kDomain, name), value);
  const Status longer = store->PutNote(kDomain, name + 'n', "");
  EXPECT_EQ(longer.code(), Code::kInvalidArgument);
  EXPECT_EQ(longer.message(), "note name is 129 bytes; the limit is 1 to 128");
  const Status more = store->PutNote(kDomain, "a", value + 'v');
  EXPECT_EQ(more.code(), Code::kInvalidArgument);
  EXPECT_EQ(more.message(), "note 'a' is 65537 bytes; the limit is 65536");
  for (const std::string& bad : {std::string(), std::string("a\n"), std::string("\x7f"),
                                 std::string("a\0b", 3), std::string("\x1f")}) {
    EXPECT_EQ(store->PutNote(kDomain, bad, "").code(), Code::kInvalidArgument);
    EXPECT_FALSE(store->GetNote(kDomain, bad).has_value());
    EXPECT_FALSE(*store->RemoveNote(kDomain, bad));
  }
  EXPECT_EQ(NamesOf(*store, kDomain, ""), std::vector<std::string>{name});
}

TEST_P(StoreNotesTest, ARestartFindsThemWhereThereIsADisk) {
  {
    const auto store = Open();
    for (const char* name : {"kept", "replaced", "removed"}) {
      ASSERT_TRUE(store->PutNote(kDomain, name, "old").ok());
    }
    ASSERT_TRUE(store->PutNote(kDomain, "replaced", "new").ok());
    ASSERT_TRUE(*store->RemoveNote(kDomain, "removed"));
  }
  const auto store = Open();
  if (!on_disk()) {
    EXPECT_TRUE(store->ListNotes(kDomain, "").empty());
    return;
  }
  EXPECT_EQ(NamesOf(*store, kDomain, ""), (std::vector<std::string>{"kept", "replaced"}));
  EXPECT_EQ(store->GetNote(kDomain, "kept"), "old");
  EXPECT_EQ(store->GetNote(kDomain, "replaced"), "new");
}

INSTANTIATE_TEST_SUITE_P(All, StoreNotesTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "Disk" : "Memory"; });

TEST(StoreNotesInMemoryTest, ADomainMayHoldSoMuchAndNoMore) {
  const auto store = OpenStore(SmallStore(1));
  const std::uint64_t each = sizeof(Store::Note) + 4 + Store::kMaxNoteBytes;
  const std::uint64_t fit = Store::kMaxNotesInMemoryBytes / each;
  const std::string value(Store::kMaxNoteBytes, 'v');
  for (std::uint64_t n = 0; n < fit; ++n) {
    ASSERT_TRUE(store->PutNote(kDomain, std::to_string(1000 + n), value).ok()) << n;
  }
  const std::string rest(Store::kMaxNotesInMemoryBytes - fit * each - sizeof(Store::Note) - 4, 'r');
  ASSERT_TRUE(store->PutNote(kDomain, "rest", rest).ok()) << "at the limit";
  const Status over = store->PutNote(kDomain, "rest", rest + 'r');
  EXPECT_EQ(over.code(), Code::kExhausted);
  EXPECT_NE(over.message().find("16777216"), std::string::npos) << over.message();
  EXPECT_EQ(store->GetNote(kDomain, "rest"), rest) << "a refused put changes nothing";
  EXPECT_EQ(store->PutNote(kDomain, "x", "").code(), Code::kExhausted);
  EXPECT_TRUE(store->PutNote(kDomain, "1000", value).ok()) << "replaced, not added";
  EXPECT_TRUE(store->PutNote(kOther, "x", value).ok()) << "another domain has its own room";
  EXPECT_TRUE(*store->RemoveNote(kDomain, "rest"));
  EXPECT_TRUE(store->PutNote(kDomain, "rest", rest).ok());
}

}  // namespace
}  // namespace kvcommons
