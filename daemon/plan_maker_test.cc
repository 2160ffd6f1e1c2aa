#include "daemon/plan_maker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "daemon/commit.h"
#include "daemon/model_testing.h"
#include "daemon/staging.h"

namespace kvcommons {
namespace {

// What the daemon does for one client, without the wire.
class PlanMakerTest : public testing::Test {
 protected:
  PlanMakerTest() {
    Store::Options options;
    options.arena_bytes = 64 * kMiB;
    options.disk = MakeMemoryDiskTier(64 * kMiB);
    options.clock = &clock_;
    store_ = Store::Open(std::move(options)).value();
    model_ = SmallModel(*store_, 1, 100000);
  }

  static PromptRequest Request(std::vector<TokenId> tokens, Position store_tokens,
                               const std::string& document = "") {
    PromptRequest request;
    request.tokens = std::move(tokens);
    request.policy = Policy::kEdit;
    request.document = document;
    request.store_tokens = store_tokens;
    request.edit.after_rows = 0;
    request.edit.min_run = 1;
    return request;
  }
  static std::vector<TokenId> Text(std::size_t count, TokenId first = 0) {
    std::vector<TokenId> tokens(count);
    for (std::size_t i = 0; i < count; ++i) tokens[i] = static_cast<TokenId>((first + i * i) % 997);
    return tokens;
  }

  PreparedPlan Plan(const PromptRequest& request, bool may_block = true) {
    PlanMaker maker(*store_, clock_, model_, request);
    const auto made = maker.Make(may_block);
    EXPECT_TRUE(made && *made) << (made ? "has to block" : made.error().ToString());
    return maker.Take();
  }

  // Plans and commits everything that is wanted.
  CommitReport PlanAndCommit(const PromptRequest& request, Ack ack = Ack::kHeld) {
    PlanLease lease(*store_, locks_, clock_, Plan(request));
    const auto staging = Staging::Create(kMiB).value();
    std::vector<StagedPiece> staged;
    for (const WantedPiece& piece : lease.plan().pieces) {
      staged.push_back(
          {static_cast<std::uint32_t>(piece.begin), static_cast<std::uint64_t>(piece.begin) * 32});
    }
    auto report = lease.Commit(staged, staging.get(), ack, true);
    EXPECT_TRUE(report) << report.error().ToString();
    return report.value_or(CommitReport());
  }

  std::vector<BlockKey> StoredKeys() const {
    std::vector<BlockKey> keys;
    for (const auto& info : store_->List(model_->tenant.domain, 10000)) keys.push_back(info.key);
    return keys;
  }

  ManualClock clock_;
  DocumentLocks locks_;
  std::unique_ptr<Store> store_;
  std::shared_ptr<const OpenedModel> model_;
};

// I4.
TEST_F(PlanMakerTest, SpansCoverThePromptOnceAndEndInACompute) {
  PlanAndCommit(Request(Text(100), 100, "a"));
  for (const std::size_t count : {1u, 15u, 16u, 17u, 99u, 100u, 101u, 150u}) {
    const PreparedPlan plan = Plan(Request(Text(count), static_cast<Position>(count), "a"));
    Position next = 0;
    for (const LeasedSpan& part : plan.spans) {
      EXPECT_EQ(part.span.begin, next);
      EXPECT_LT(part.span.begin, part.span.end);
      next = part.span.end;
      EXPECT_EQ(part.pin == LeasedSpan::kNoBlock, part.span.kind == SpanKind::kCompute);
    }
    EXPECT_EQ(next, static_cast<Position>(count));
    EXPECT_EQ(plan.spans.back().span.kind, SpanKind::kCompute);
  }
}

TEST_F(PlanMakerTest, AShortLastBlockIsFoundWhereStoringEnds) {
  PlanAndCommit(Request(Text(41), 40));
  EXPECT_EQ(Plan(Request(Text(60), 40)).plan.exact_rows, 40);
  EXPECT_EQ(Plan(Request(Text(60), 50)).plan.exact_rows, 32) << "another end, another short block";
  EXPECT_EQ(Plan(Request(Text(41), 40)).pieces.size(), 0u);
}

TEST_F(PlanMakerTest, APlanPinsItsBlocks) {
  PlanAndCommit(Request(Text(64), 64));
  std::optional<PreparedPlan> plan = Plan(Request(Text(80), 0));
  ASSERT_EQ(plan->pins.size(), 4u);
  EXPECT_GT(store_->GetStats().arena_pinned_bytes, 0u);
  plan.reset();
  EXPECT_EQ(store_->GetStats().arena_pinned_bytes, 0u);
}

TEST_F(PlanMakerTest, RowsOfAVanishedBlockAreComputed) {
  PlanAndCommit(Request(Text(64), 64, "a"));
  const PreparedPlan whole = Plan(Request(Text(64), 64, "a"));
  ASSERT_TRUE(store_->Remove(model_->tenant.domain, whole.chain.full[1].key).value());
  const PreparedPlan plan = Plan(Request(Text(64), 64, "a"));
  EXPECT_GE(plan.plan.computed_rows, 16);
  EXPECT_EQ(plan.pieces.front().begin, 16) << "the block is wanted again";
}

// A revision that says something else of a block than the block itself is not believed (I12).
TEST_F(PlanMakerTest, ALyingRevisionIsAMiss) {
  PlanAndCommit(Request(Text(64), 64, "a"));
  const DocumentKey key = model_->hasher.KeyOfDocument("a");
  DocumentRevision revision = store_->GetDocument(model_->tenant.domain, key).value();
  revision.revision += 1;
  revision.segments[2].origin += 5;
  ASSERT_TRUE(store_->PutDocument(revision, Ack::kHeld).ok());
  std::vector<TokenId> edited = Text(64);
  edited.insert(edited.begin(), 7);
  const PreparedPlan plan = Plan(Request(edited, 65, "a"));
  for (const LeasedSpan& part : plan.spans) {
    if (part.pin == LeasedSpan::kNoBlock) continue;
    EXPECT_EQ(part.span.begin - part.span.delta,
              plan.pins[part.pin].record().origin + static_cast<Position>(part.first_row));
  }
  EXPECT_GE(plan.plan.computed_rows, 16);
}

TEST_F(PlanMakerTest, ALongComparisonIsLeftToAWorker) {
  PlanAndCommit(Request(Text(64), 64, "a"));
  PlanMaker fits(*store_, clock_, model_, Request(Text(32768 - 64), 0, "a"));
  EXPECT_TRUE(fits.Make(false).value());
  PlanMaker past(*store_, clock_, model_, Request(Text(32768 - 63), 0, "a"));
  EXPECT_FALSE(past.Make(false).value());
  EXPECT_TRUE(past.Make(true).value());
}

TEST_F(PlanMakerTest, APlanThatNeverFinishesItsDocumentLeavesNoPrivateRows) {
  PlanAndCommit(Request(Text(64), 64, "a"));
  const std::size_t before = StoredKeys().size();
  std::vector<TokenId> edited = Text(64);
  edited.insert(edited.begin() + 3, 7);
  {
    PlanLease lease(*store_, locks_, clock_, Plan(Request(edited, 65, "a")));
    const auto staging = Staging::Create(kMiB).value();
    const auto piece = std::find_if(
        lease.plan().pieces.begin(), lease.plan().pieces.end(),
        [](const WantedPiece& p) { return p.storage_class == StorageClass::kRevision; });
    ASSERT_NE(piece, lease.plan().pieces.end());
    const StagedPiece staged{static_cast<std::uint32_t>(piece->begin), 0};
    ASSERT_TRUE(lease.Commit({&staged, 1}, staging.get(), Ack::kHeld, false));
    EXPECT_EQ(StoredKeys().size(), before + 1);
  }
  EXPECT_EQ(StoredKeys().size(), before);
}

TEST_F(PlanMakerTest, ADurableRevisionReplacesThePrivateRowsOfTheOneBefore) {
  PlanAndCommit(Request(Text(64), 64, "a"), Ack::kDurable);
  const std::size_t exact = StoredKeys().size();
  std::vector<TokenId> edited = Text(64);
  std::size_t most = 0;
  for (int i = 0; i < 8; ++i) {
    edited[3] = static_cast<TokenId>(500 + i);
    const CommitReport report = PlanAndCommit(Request(edited, 64, "a"), Ack::kDurable);
    EXPECT_EQ(report.revision, static_cast<std::uint64_t>(i + 2));
    most = std::max(most, StoredKeys().size());
  }
  EXPECT_LE(most, exact + 3) << "rows of eight revisions would have piled up";
}

TEST_F(PlanMakerTest, ACommitThatFailsChangesNothing) {
  PlanLease lease(*store_, locks_, clock_, Plan(Request(Text(64), 64, "a")));
  const auto staging = Staging::Create(4096).value();
  const StagedPiece good{0, 0};
  const StagedPiece pieces[] = {{16, 0}, {32, 1u << 30}};
  EXPECT_FALSE(lease.Commit(pieces, staging.get(), Ack::kHeld, true));
  EXPECT_TRUE(StoredKeys().empty());
  EXPECT_FALSE(store_->GetDocument(model_->tenant.domain, lease.plan().document));
  EXPECT_TRUE(lease.Commit({&good, 1}, staging.get(), Ack::kHeld, false));
}

}  // namespace
}  // namespace kvcommons
