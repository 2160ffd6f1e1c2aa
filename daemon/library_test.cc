// A library without the wire: what it refuses, and what a composed plan does with stored rows that
// are not as they should be.

#include "daemon/library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "base/bytes.h"
#include "daemon/model_testing.h"
#include "daemon/plan_maker.h"
#include "daemon/work_upload.h"

namespace kvcommons {
namespace {

using testing::HasSubstr;

class LibraryTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kContext = 1000;

  LibraryTest() {
    Store::Options options;
    options.arena_bytes = 64 * kMiB;
    options.clock = &clock_;
    store_ = Store::Open(std::move(options)).value();
    model_ = SmallModel(*store_, 1, kContext);
    PrefaceSet set;
    set.system_tokens = {1, 2};
    set.prefaces = 2;
    set.passages_per_preface = 1;
    set.neutral = {{3}, {4}};
    roots_ = std::make_unique<PrefaceRoots>(set, model_->hasher);
    library_ = Library::Open(*store_, clock_, model_, budget_).value();
  }

  static TokenList Text(std::size_t count, TokenId first = 0) {
    TokenList tokens(count);
    for (std::size_t i = 0; i < count; ++i) tokens[i] = static_cast<TokenId>((first + i * i) % 997);
    return tokens;
  }

  // Makes `kind` ready with blocks of zeros, whose records `change` may alter.
  void Prepare(RootKind kind, const std::function<void(BlockRecord&)>& change = nullptr) {
    auto work = library_->NextWork(*roots_, kContext, MaskOf(kind));
    ASSERT_TRUE(work.has_value());
    for (std::size_t i = 0; i < work->keys.size(); ++i) {
      BlockRecord record;
      record.key = work->keys[i];
      const std::size_t begin = 16 * i, end = std::min(begin + 16, work->tokens.size());
      record.tokens.assign(work->tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                           work->tokens.begin() + static_cast<std::ptrdiff_t>(end));
      record.fingerprint = model_->fingerprint;
      record.domain = model_->tenant.domain;
      record.storage_class = StorageClass::kCanonical;
      record.origin = static_cast<Position>(begin);
      record.planes = model_->planes;
      if (change) change(record);
      const std::vector<std::byte> bytes(record.block_bytes());
      ASSERT_TRUE(store_->Put(record.domain, {{Store::PutItem{record, bytes.data()}}}, Ack::kHeld));
    }
    const Status status = library_->Finish(*work);
    ASSERT_TRUE(status.ok()) << status.ToString();
    library_->Release(*work, true);
  }

  PreparedPlan Plan(TokenList tokens, std::vector<ChunkRange> chunks) {
    PromptRequest request;
    request.tokens = std::move(tokens);
    request.policy = Policy::kCompose;
    request.chunks = std::move(chunks);
    request.compose.min_chunk_rows = 1;
    auto found = library_->Find(request.tokens, request.chunks, *roots_, kAllVariants);
    PlanMaker maker(*store_, clock_, model_, std::move(request), nullptr, std::move(found));
    const auto made = maker.Make(true);
    EXPECT_TRUE(made && *made);
    return maker.Take();
  }

  static TokenList WithQuestion(TokenList tokens) {
    tokens.insert(tokens.end(), {5, 6, 7, 8, 9});
    return tokens;
  }

  ManualClock clock_;
  std::unique_ptr<Store> store_;
  std::shared_ptr<const OpenedModel> model_;
  std::unique_ptr<PrefaceRoots> roots_;
  LibraryBudget budget_;
  std::shared_ptr<Library> library_;
};

TEST_F(LibraryTest, LoadingsOfAnotherVersionAreNotServedAndTheRowsAre) {
  ASSERT_TRUE(library_->Put("a", Text(40), {}));
  Prepare(RootKind::kMean, [](BlockRecord& record) {
    record.loadings_version = kLoadingsVersion + 1;
    record.loadings_rank = 3;
    record.loadings_bytes = 20;
  });
  const PreparedPlan plan = Plan(WithQuestion(Text(40)), {{0, 40}});
  EXPECT_EQ(plan.plan.canonical_rows, 40);
  ASSERT_EQ(plan.pins.size(), 3u);
  for (const PinnedBlock& pin : plan.pins) EXPECT_EQ(pin.record().loadings().rank, 0u);
  EXPECT_THAT(plan.notes, HasSubstr("loadings of version " + std::to_string(kLoadingsVersion + 1) +
                                    " of 3 blocks are not used; this daemon reads " +
                                    std::to_string(kLoadingsVersion)));
}

TEST_F(LibraryTest, ABlockThatIsNotWhatItsRecordSaysIsComputed) {
  ASSERT_TRUE(library_->Put("a", Text(40), {}));
  Prepare(RootKind::kSystem);
  Prepare(RootKind::kMean, [](BlockRecord& record) { record.origin += 1; });
  const PreparedPlan plan = Plan(WithQuestion(Text(40)), {{0, 40}});
  ASSERT_EQ(plan.chunks[0].variants.size(), 1u);  // The next best variant serves it (I12).
  EXPECT_EQ(plan.chunks[0].variants[0].root.kind, RootKind::kSystem);
  EXPECT_EQ(plan.plan.canonical_rows, 40);
}

TEST_F(LibraryTest, OneMissingBlockOfAVariantHandsTheChunkToTheNext) {
  ASSERT_TRUE(library_->Put("a", Text(40), {}));
  Prepare(RootKind::kSystem);
  Prepare(RootKind::kMean);
  const auto keys = model_->hasher.CanonicalChain(roots_->Root(RootKind::kMean), Text(40), 16);
  ASSERT_TRUE(store_->Remove(model_->tenant.domain, keys[1]).has_value());
  const PreparedPlan plan = Plan(WithQuestion(Text(40)), {{0, 40}});
  EXPECT_EQ(plan.chunks[0].variants[0].root.kind, RootKind::kSystem);
  ASSERT_EQ(plan.lost_variants.size(), 1u);
  EXPECT_FALSE(library_->NextWork(*roots_, kContext, MaskOf(RootKind::kMean)).has_value());
  library_->Forget(plan.lost_variants[0].first, plan.lost_variants[0].second);
  EXPECT_TRUE(library_->NextWork(*roots_, kContext, MaskOf(RootKind::kMean)).has_value());
}

TEST_F(LibraryTest, AChunkInTheExactRowsUsesNoVariant) {
  ASSERT_TRUE(library_->Put("a", Text(40), {}));
  Prepare(RootKind::kMean);
  PromptRequest request;
  request.tokens = WithQuestion(Text(40));
  const auto keys = model_->hasher.Chain(request.tokens, 16, false);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    BlockRecord record;
    record.key = keys[i];
    record.tokens.assign(16, 0);
    record.fingerprint = model_->fingerprint;
    record.domain = model_->tenant.domain;
    record.origin = static_cast<Position>(16 * i);
    record.planes = model_->planes;
    const std::vector<std::byte> bytes(record.block_bytes());
    ASSERT_TRUE(store_->Put(record.domain, {{Store::PutItem{record, bytes.data()}}}, Ack::kHeld));
  }
  const PreparedPlan plan = Plan(request.tokens, {{0, 30}});
  EXPECT_EQ(plan.plan.exact_rows, 32);
  EXPECT_EQ(plan.plan.canonical_rows, 0);
  EXPECT_TRUE(plan.chunks[0].variants.empty());
}

TEST_F(LibraryTest, WhatAKillLeftOfAPreparationIsNotMixedWithTheNext) {
  ASSERT_TRUE(library_->Put("a", Text(16), {}));
  auto work = library_->NextWork(*roots_, kContext, MaskOf(RootKind::kMean));
  BlockRecord record;
  record.key = work->keys[0];
  record.tokens = Text(16);
  record.fingerprint = model_->fingerprint;
  record.domain = model_->tenant.domain;
  record.storage_class = StorageClass::kCanonical;
  record.planes = model_->planes;
  const std::vector<std::byte> bytes(record.block_bytes(), std::byte{0xEE});
  ASSERT_TRUE(store_->Put(record.domain, {{Store::PutItem{record, bytes.data()}}}, Ack::kHeld));
  WorkUpload upload(*store_, clock_, library_, std::move(*work));
  const auto staging = Staging::Create(kMiB).value();  // zeros
  WorkCommit commit;
  commit.blocks = {{0, 0}};
  commit.finish = true;
  ASSERT_TRUE(upload.Commit(commit, staging.get()));
  const auto pin = store_->PinIfInMemory(record.domain, record.key);
  ASSERT_TRUE(pin.has_value());
  EXPECT_EQ(pin->bytes()[0], std::byte{0});
}

TEST_F(LibraryTest, ATextThatDoesNotFitBehindThePrefacesIsNoWork) {
  const std::size_t longest = roots_->set().LongestTokens();
  ASSERT_TRUE(library_->Put("long", Text(1000 - longest + 1), {}));
  EXPECT_FALSE(library_->NextWork(*roots_, kContext, kPreparedVariants).has_value());
  ASSERT_TRUE(library_->Put("fits", Text(1000 - longest), {}));
  EXPECT_TRUE(library_->NextWork(*roots_, kContext, kPreparedVariants).has_value());
}

TEST_F(LibraryTest, WorkIsForTheContextOfWhoeverAsks) {
  const std::uint32_t longest = static_cast<std::uint32_t>(roots_->set().LongestTokens());
  ASSERT_TRUE(library_->Put("a", Text(1500), {}));
  for (const std::uint32_t context : {kContext, 1500 + longest - 1}) {
    EXPECT_FALSE(library_->NextWork(*roots_, context, kPreparedVariants).has_value());
    EXPECT_EQ(library_->Count(*roots_, context).pending, 0u);
  }
  EXPECT_EQ(library_->Count(*roots_, 1500 + longest).pending, 2u);
  EXPECT_TRUE(library_->NextWork(*roots_, 1500 + longest, kPreparedVariants).has_value());
}

// `near` of a document "a" with up to twelve neighbours "n0", "n1", ...
class LibraryNearTest : public LibraryTest {
 protected:
  LibraryNearTest() {
    PrefaceSet set;
    set.prefaces = 8;
    set.passages_per_preface = 3;
    set.preface_tokens = 8;
    for (TokenId i = 0; i < 24; ++i) set.neutral.push_back({i});
    roots_ = std::make_unique<PrefaceRoots>(set, model_->hasher);
    EXPECT_TRUE(library_->Put("a", Text(10, 500), {}));
    for (TokenId i = 0; i < 20; ++i) {
      EXPECT_TRUE(library_->Put("n" + std::to_string(i), Text(10, i), {}));
    }
  }

  void Name(std::vector<std::string> names) {
    ASSERT_TRUE(library_->Put("a", Text(10, 500), std::move(names)));
  }

  // Neighbours [begin, end) are used together with "a" so many times more.
  void Use(TokenId begin, TokenId end, int times) {
    for (TokenId i = begin; i < end; ++i) {
      for (int j = 0; j < times; ++j) {
        library_->CountTogether(std::vector{model_->hasher.ContentKeyOf(Text(10, 500)),
                                            model_->hasher.ContentKeyOf(Text(10, i))});
      }
    }
  }

  // What is to be made; it is given back.
  std::optional<LibraryWork> Wanted() {
    auto work = library_->NextWork(*roots_, kContext, MaskOf(RootKind::kNear));
    if (work) library_->Release(*work, false);
    return work;
  }
};

TEST_F(LibraryNearTest, ANewNeighbourAmongTwelveIsNotWorthMakingItAgainAndSixAre) {
  Use(0, 12, 5);
  Prepare(RootKind::kNear);
  for (TokenId i = 12; i < 17; ++i) {
    Use(i, i + 1, 9);
    EXPECT_FALSE(Wanted()) << i;
  }
  Use(17, 18, 9);
  ASSERT_TRUE(Wanted());
  EXPECT_EQ(Wanted()->variant.neighbours.size(), 12u);
  Prepare(RootKind::kNear);
  EXPECT_FALSE(Wanted());
}

TEST_F(LibraryNearTest, FewNeighboursAreAddedToWhenTheyAreHalfAsManyMore) {
  Use(0, 3, 5);
  Prepare(RootKind::kNear);
  Use(3, 5, 5);
  EXPECT_FALSE(Wanted());  // Two of five.
  Use(5, 6, 5);
  EXPECT_TRUE(Wanted());  // Three of six.
}

TEST_F(LibraryNearTest, ARemovedOrReplacedNeighbourIsReasonEnough) {
  for (const bool is_replaced : {false, true}) {
    Use(0, 12, 5);
    Prepare(RootKind::kNear);
    ASSERT_FALSE(Wanted());
    if (is_replaced) {
      ASSERT_TRUE(library_->Put("n3", Text(11, 700), {}));
    } else {
      ASSERT_TRUE(library_->Remove("n4").value());
    }
    EXPECT_EQ(library_->Get("a")->Find(RootKind::kNear, roots_->id()), nullptr);
    EXPECT_TRUE(Wanted());
  }
}

TEST_F(LibraryNearTest, NamesThatChangeAreReasonEnough) {
  Use(0, 12, 5);
  Name({"n12", "n13"});
  Prepare(RootKind::kNear);
  Name({"n13", "n12"});
  EXPECT_FALSE(Wanted());  // The same neighbours in another order.
  Name({"n12"});
  ASSERT_TRUE(Wanted());
  ASSERT_TRUE(Wanted()) << "work that was given back changes nothing";
  Prepare(RootKind::kNear);
  EXPECT_FALSE(Wanted());
  Name({"n12", "n14", "later"});
  EXPECT_TRUE(Wanted());
  Prepare(RootKind::kNear);
  EXPECT_FALSE(Wanted());
  ASSERT_TRUE(library_->Put("later", Text(10, 600), {}));
  EXPECT_TRUE(Wanted());
}

TEST_F(LibraryNearTest, NamesThatChangeWhileItIsMadeAreNotForgotten) {
  Name({"n0", "n1", "n2"});
  Prepare(RootKind::kNear);
  Name({"n0", "n1"});
  const auto work = library_->NextWork(*roots_, kContext, MaskOf(RootKind::kNear));
  Name({"n0"});
  ASSERT_TRUE(library_->Finish(*work).ok());
  library_->Release(*work, true);
  ASSERT_TRUE(Wanted());
  EXPECT_EQ(Wanted()->variant.neighbours.size(), 1u);
}

TEST_F(LibraryNearTest, NamesThatChangedAreNotForgottenOverARestart) {
  Name({"n0", "n1", "n2"});
  Prepare(RootKind::kNear);
  Name({"n0", "n1"});
  const auto restart = [&] {
    library_.reset();
    library_ = Library::Open(*store_, clock_, model_, budget_).value();
  };
  restart();
  ASSERT_TRUE(Wanted());
  EXPECT_EQ(Wanted()->variant.neighbours.size(), 2u);
  Prepare(RootKind::kNear);
  restart();
  EXPECT_FALSE(Wanted());
}

// Whoever asks with a context that nobody asked with before has everything looked at.
TEST_F(LibraryNearTest, AskingAgainFindsTheWorkThatLookingAtEverythingFinds) {
  constexpr unsigned kSeed = 1;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  std::vector<LibraryWork> claimed;
  std::uint32_t new_context = kContext;
  std::vector<TokenId> texts(20);  // of n0, n1, ...: some are equal later
  std::iota(texts.begin(), texts.end(), 0);
  const auto text_of = [&](std::size_t i) { return Text(10, texts[i]); };
  for (int step = 0; step < 3000; ++step) {
    const std::size_t i = below(20);
    const std::string name = "n" + std::to_string(i);
    switch (below(8)) {
      case 0:
        if (below(10) == 0) texts[i] = static_cast<TokenId>(below(30));
        ASSERT_TRUE(library_->Put(name, text_of(i), {}));
        break;
      case 1:
        ASSERT_TRUE(library_->Put(name, text_of(i), {"n" + std::to_string(below(20))}));
        break;
      case 2:
        if (below(10) != 0) break;
        ASSERT_TRUE(library_->Remove(name));
        break;
      case 3: {
        std::vector<ContentKey> contents;
        for (int j = 0; j < 4; ++j) {
          contents.push_back(model_->hasher.ContentKeyOf(text_of(below(20))));
        }
        library_->CountTogether(contents);
        break;
      }
      case 4:
        library_->Forget(model_->hasher.ContentKeyOf(text_of(i)), roots_->Root(RootKind::kSystem));
        break;
      case 5:
        if (claimed.empty()) break;
        library_->Release(claimed.back(), false);
        claimed.pop_back();
        break;
      default:
        if (claimed.empty()) break;
        static_cast<void>(library_->Finish(claimed.front()));
        library_->Release(claimed.front(), true);
        claimed.erase(claimed.begin());
    }
    // First: looking at everything finds for others, too.
    const auto pending = library_->Count(*roots_, kContext).pending;
    ASSERT_EQ(pending, library_->Count(*roots_, ++new_context).pending) << "step " << step;
    if (claimed.size() > 3) continue;
    auto work = library_->NextWork(*roots_, kContext, kPreparedVariants);
    if (work) library_->Release(*work, true);
    const auto expected = library_->NextWork(*roots_, ++new_context, kPreparedVariants);
    ASSERT_EQ(work.has_value(), expected.has_value()) << "step " << step;
    if (!work) continue;
    ASSERT_EQ(work->claim, expected->claim) << "step " << step;
    ASSERT_EQ(work->name, expected->name) << "step " << step;
    claimed.push_back(std::move(*work));
  }
}

TEST_F(LibraryTest, WorkThatIsGivenBackGoesToTheEndOfTheQueue) {
  ASSERT_TRUE(library_->Put("a", Text(10, 1), {}));
  ASSERT_TRUE(library_->Put("b", Text(10, 2), {}));
  const auto work = library_->NextWork(*roots_, kContext, kPreparedVariants);
  EXPECT_EQ(work->name, "a");
  library_->Release(*work, false);
  EXPECT_EQ(library_->NextWork(*roots_, kContext, kPreparedVariants)->name, "b");
}

TEST_F(LibraryTest, TheNumberOfDocumentsIsLimited) {
  for (std::size_t i = 0; i < Library::kMaxDocuments; ++i) {
    ASSERT_TRUE(library_->Put(std::to_string(i), {1}, {})) << i;
  }
  EXPECT_EQ(library_->Put("more", {1}, {}).error().code(), Code::kExhausted);
  EXPECT_TRUE(library_->Put("0", {2}, {}));
  ASSERT_TRUE(library_->Remove("1"));
}

TEST_F(LibraryTest, ADocumentTakesItsTokensAndARemovedOneGivesThemBack) {
  const DomainId& domain = model_->tenant.domain;
  ASSERT_TRUE(budget_.Take(domain, LibraryLimits().domain_tokens - 10).ok());
  ASSERT_TRUE(library_->Put("a", Text(7), {}));
  EXPECT_EQ(library_->Put("b", Text(4), {}).error().message(),
            "the tenant's open libraries hold 16777213 tokens, asked for are 4 more; the limit is "
            "16777216");
  EXPECT_TRUE(library_->Put("b", Text(3), {}));
  // The same again asks for nothing, another text in its place for the difference.
  EXPECT_TRUE(library_->Put("a", Text(7), {"b"}));
  EXPECT_FALSE(library_->Put("a", Text(8), {}));
  EXPECT_TRUE(library_->Put("a", Text(6), {}));
  EXPECT_TRUE(library_->Put("c", Text(1), {}));
  ASSERT_TRUE(library_->Remove("b"));
  EXPECT_TRUE(library_->Put("d", Text(3), {}));
  EXPECT_FALSE(library_->Put("e", Text(1), {}));
  library_.reset();
  EXPECT_EQ(budget_.RoomFor(domain, 10), LibraryBudget::Room::kFits);
  EXPECT_EQ(budget_.RoomFor(domain, 11), LibraryBudget::Room::kDomainIsFull);
}

TEST_F(LibraryTest, EqualPrefaceSetsAreOneAndCountOnce) {
  const DomainId& domain = model_->tenant.domain;
  PrefaceSet set = roots_->set();
  set.neutral.push_back(TokenList(100, 5));
  const std::uint64_t tokens = set.TotalTokens();
  ASSERT_EQ(tokens, 104u);
  ASSERT_TRUE(budget_.Take(domain, LibraryLimits().domain_tokens - tokens).ok());
  auto one = library_->Share(set).value();
  auto two = library_->Share(set).value();
  EXPECT_EQ(one, two);
  // Not by their id alone, which the sink and what is left over do not enter.
  set.sink_tokens = {7};
  EXPECT_EQ(library_->Share(set).error().code(), Code::kExhausted);
  EXPECT_FALSE(library_->Put("a", Text(1), {}));
  one.reset();
  two.reset();
  set.neutral.back().pop_back();
  EXPECT_TRUE(library_->Share(set));
  EXPECT_TRUE(library_->Put("a", Text(tokens), {}));
}

TEST_F(LibraryTest, CountsThatDoubleAreWrittenBackAndTheOthersAtTheEnd) {
  ASSERT_TRUE(library_->Put("a", Text(10, 1), {}));
  ASSERT_TRUE(library_->Put("b", Text(10, 2), {}));
  const std::vector<ContentKey> both{model_->hasher.ContentKeyOf(Text(10, 1)),
                                     model_->hasher.ContentKeyOf(Text(10, 2))};
  const auto stored = [&] {
    const auto record =
        store_->GetLibraryDocument(model_->tenant.domain, model_->hasher.KeyOfLibraryDocument("a"));
    return record->neighbours.empty() ? 0 : record->neighbours[0].count;
  };
  EXPECT_TRUE(library_->CountTogether(both));
  library_->WriteBack(false);
  EXPECT_EQ(stored(), 1u);
  EXPECT_TRUE(library_->CountTogether(both));
  library_->WriteBack(false);
  EXPECT_EQ(stored(), 2u);
  EXPECT_FALSE(library_->CountTogether(both));
  library_->WriteBack(false);
  EXPECT_EQ(stored(), 2u);
  library_->WriteBack(true);
  EXPECT_EQ(stored(), 3u);
}

}  // namespace
}  // namespace kvcommons
