// What these tests hold the planner to: a plan covers the prompt once and ends in a computed token
// (I4), reuses nothing that costs more than prefill (I11), calls nothing exact that is not, and
// says why for every span. Documents are the ids 0, 1, 2, ... so that a row can be recognised.

#include "align/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace kvcommons {
namespace {

using Ids = std::vector<TokenId>;
using Segments = std::vector<ParentSegment>;

constexpr Position kDocument = 1000;

Ids Document(Position size = kDocument) {
  Ids ids(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<TokenId>(i);
  return ids;
}

Segments ExactRows(Position end) { return {{0, end, 0, {}}}; }

// Replaces [begin, end) by `count` ids that occur nowhere else.
Ids Replaced(Ids ids, Position begin, Position end, int count, TokenId first = 1'000'000) {
  ids.erase(ids.begin() + begin, ids.begin() + end);
  Ids fresh;
  for (int i = 0; i < count; ++i) fresh.push_back(first + i);
  ids.insert(ids.begin() + begin, fresh.begin(), fresh.end());
  return ids;
}

struct Request {
  Ids tokens = Document();
  Position exact_tokens = 0;
  Ids parent = Document();
  Segments segments = ExactRows(kDocument);
  Policy policy = Policy::kEdit;
  EditOptions edit{.after_rows = 32};  // not the default: the expected plans are for it
  CostModel costs;

  PlanInput input() const {
    PlanInput input;
    input.tokens = tokens;
    input.exact_tokens = exact_tokens;
    input.parent_tokens = parent;
    input.parent_segments = segments;
    input.policy = policy;
    input.edit = edit;
    input.costs = costs;
    return input;
  }
};

Plan Make(const Request& request) {
  auto plan = MakePlan(request.input());
  EXPECT_TRUE(plan.has_value()) << plan.error().ToString();
  return plan.value_or(Plan());
}

// I4, and everything else that holds for every plan.
void ExpectSound(const Request& request, const Plan& plan) {
  const auto count = static_cast<Position>(request.tokens.size());
  Position end = 0;
  Position rows[3] = {};
  Position exact_end = count;
  for (const Span& span : plan.spans) {
    ASSERT_EQ(span.begin, end);
    ASSERT_GT(span.end, span.begin);
    end = span.end;
    ASSERT_STRNE(span.reason, "");
    if (span.kind == SpanKind::kCompute) {
      rows[2] += span.end - span.begin;
      ASSERT_EQ(span.source, SpanSource::kNone);
      ASSERT_EQ(span.delta, 0);
      ASSERT_EQ(span.staleness.exact(), span.begin < exact_end);
      continue;
    }
    const bool moved = span.kind == SpanKind::kMoved;
    ASSERT_TRUE(moved || span.kind == SpanKind::kExact);
    rows[moved ? 1 : 0] += span.end - span.begin;
    if (moved) exact_end = std::min(exact_end, span.begin);
    ASSERT_EQ(span.staleness.exact(), !moved);
    if (!moved) {
      ASSERT_EQ(span.delta, 0);
      ASSERT_LT(span.begin, exact_end) << "exact behind moved rows";
    }
    if (span.source == SpanSource::kChain) {
      ASSERT_LE(span.end, request.exact_tokens);
      continue;
    }
    ASSERT_EQ(span.source, SpanSource::kParent);
    for (Position i = 0; i < span.end - span.begin; ++i) {
      const Position row = span.parent_begin + i;
      const auto a = static_cast<std::size_t>(row);
      ASSERT_LT(a, request.parent.size());
      ASSERT_EQ(request.parent[a], request.tokens[static_cast<std::size_t>(span.begin + i)]);
      const auto segment =
          std::find_if(request.segments.begin(), request.segments.end(),
                       [row](const ParentSegment& s) { return s.begin <= row && row < s.end; });
      ASSERT_TRUE(segment != request.segments.end()) << "row " << row << " is not stored";
      ASSERT_EQ(span.delta, span.begin + i - (segment->origin + row - segment->begin));
      ASSERT_LE(span.staleness.generation, request.edit.max_generation + (moved ? 0 : 1));
      if (!moved) {
        ASSERT_TRUE(segment->staleness.exact());
        ASSERT_TRUE(std::equal(request.tokens.begin(), request.tokens.begin() + span.end,
                               request.parent.begin()));
      }
    }
  }
  ASSERT_EQ(end, count);
  ASSERT_EQ(plan.spans.back().kind, SpanKind::kCompute);
  ASSERT_EQ(plan.exact_rows, rows[0]);
  ASSERT_EQ(plan.moved_rows, rows[1]);
  ASSERT_EQ(plan.computed_rows, rows[2]);
  ASSERT_EQ(plan.exact_end, exact_end);
  ASSERT_LE(plan.predicted_us, plan.prefill_us);
  ASSERT_LE(static_cast<double>(plan.moved_rows),
            request.edit.max_stale_share * static_cast<double>(count));
}

TEST(PlanTest, OffComputesEverything) {
  Request request;
  request.policy = Policy::kOff;
  request.exact_tokens = 500;
  EXPECT_EQ(Explain(Make(request)), "[0, 1000) compute: policy_off\n");
}

TEST(PlanTest, ExactTakesTheChainAndIgnoresTheParent) {
  Request request;
  request.policy = Policy::kExact;
  request.exact_tokens = 640;
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 640) exact: exact_chain\n"
            "[640, 1000) compute: missing\n");
  EXPECT_EQ(plan.exact_end, 1000);
}

TEST(PlanTest, TheLastTokenIsComputedThoughItIsStored) {
  Request request;
  request.policy = Policy::kExact;
  request.exact_tokens = kDocument;
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 999) exact: exact_chain\n"
            "[999, 1000) compute: last_token\n");
}

TEST(PlanTest, AnEmptyParentIsSaid) {
  Request request;
  request.parent.clear();
  request.segments.clear();
  request.exact_tokens = 64;
  EXPECT_EQ(Explain(Make(request)),
            "[0, 64) exact: exact_chain\n"
            "[64, 1000) compute: no_parent\n");
}

TEST(PlanTest, AParentWithoutRowsIsMissing) {
  Request request;
  request.segments.clear();
  EXPECT_EQ(Explain(Make(request)), "[0, 1000) compute: missing\n");
}

// O3: the same tokens again.
TEST(PlanTest, SameTokensAreExactExceptTheLast) {
  Request request;
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 999) exact: unchanged, parent rows from 0\n"
            "[999, 1000) compute: last_token\n");
  EXPECT_EQ(plan.exact_end, 1000);
}

TEST(PlanTest, TheParentsExactRowsGoOnWhereTheChainEnds) {
  Request request;
  request.exact_tokens = 640;
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 640) exact: exact_chain\n"
            "[640, 999) exact: unchanged, parent rows from 640\n"
            "[999, 1000) compute: last_token\n");
}

TEST(PlanTest, AnInsertionMovesWhatFollows) {
  Request request;
  request.tokens = Replaced(Document(), 300, 300, 10);
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 300) exact: unchanged, parent rows from 0\n"
            "[300, 342) compute: after_edit\n"
            "[342, 1009) moved: unchanged, parent rows from 332, moved by 10, generation 1\n"
            "[1009, 1010) compute: last_token, generation 1\n");
  EXPECT_EQ(plan.exact_end, 342);
  EXPECT_EQ(plan.spans[2].staleness, (Staleness{1, 10, 32}));
}

TEST(PlanTest, ADeletionMovesWhatFollowsBack) {
  Request request;
  request.tokens = Replaced(Document(), 300, 350, 0);
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 300) exact: unchanged, parent rows from 0\n"
            "[300, 332) compute: after_edit\n"
            "[332, 949) moved: unchanged, parent rows from 382, moved by -50, generation 1\n"
            "[949, 950) compute: last_token, generation 1\n");
  EXPECT_EQ(plan.spans[2].staleness, (Staleness{1, 50, 32}));
}

TEST(PlanTest, AReplacementOfEqualLengthLeavesStaleRowsInPlace) {
  Request request;
  request.tokens = Replaced(Document(), 300, 305, 5);
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 300) exact: unchanged, parent rows from 0\n"
            "[300, 337) compute: after_edit\n"
            "[337, 999) moved: unchanged, parent rows from 337, generation 1\n"
            "[999, 1000) compute: last_token, generation 1\n");
  EXPECT_EQ(plan.spans[2].staleness, (Staleness{1, 10, 32}));
}

TEST(PlanTest, AfterEveryPlaceTheNextRowsAreRecomputed) {
  Request request;
  request.edit.after_rows = 8;
  request.tokens = Replaced(Document(), 700, 710, 3, 2'000'000);
  request.tokens = Replaced(request.tokens, 200, 200, 20);
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 200) exact: unchanged, parent rows from 0\n"
            "[200, 228) compute: edited\n"
            "[228, 720) moved: unchanged, parent rows from 208, moved by 20, generation 1\n"
            "[720, 731) compute: after_edit, generation 1\n"
            "[731, 1012) moved: unchanged, parent rows from 718, moved by 13, generation 1\n"
            "[1012, 1013) compute: last_token, generation 1\n");
  // Its left context lost and gained 20 + 13 tokens; the nearest place is the second.
  EXPECT_EQ(plan.spans[4].staleness, (Staleness{1, 33, 8}));
}

TEST(PlanTest, AppendedTextLeavesEverythingBeforeItExact) {
  Request request;
  request.tokens = Replaced(Document(), kDocument, kDocument, 50);
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 1000) exact: unchanged, parent rows from 0\n"
            "[1000, 1050) compute: edited\n");
}

TEST(PlanTest, AShortRunBetweenTwoPlacesIsComputed) {
  Request request;
  request.edit.after_rows = 0;
  for (const int kept : {15, 16}) {
    request.tokens = Replaced(Document(), 300 + kept, 310 + kept, 4, 2'000'000);
    request.tokens = Replaced(request.tokens, 290, 300, 4);
    const Plan plan = Make(request);
    ExpectSound(request, plan);
    EXPECT_EQ(plan.spans[1].reason, std::string(kept == 15 ? "short_run" : "edited")) << kept;
    EXPECT_EQ(plan.spans[2].begin, kept == 15 ? 313 : 294) << kept;
  }
}

TEST(PlanTest, WhatAfterRowsLeaveOfARunMayBeTooShort) {
  Request request;  // 32 after rows, runs of 16 at least
  for (const int kept : {47, 48}) {
    request.tokens = Replaced(Document(), 300 + kept, 310 + kept, 4, 2'000'000);
    request.tokens = Replaced(request.tokens, 290, 300, 4);
    const Plan plan = Make(request);
    ExpectSound(request, plan);
    EXPECT_EQ(plan.spans[2].end - plan.spans[2].begin, kept == 47 ? 1004 - 16 - 1 - 341 - 36 : 16)
        << Explain(plan);
  }
}

TEST(PlanTest, RowsTheStoreLostAreComputedAndTheRestStaysExact) {
  Request request;
  request.segments = {{0, 100, 0, {}}, {200, 900, 200, {}}};
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 100) exact: unchanged, parent rows from 0\n"
            "[100, 200) compute: missing\n"
            "[200, 900) exact: unchanged, parent rows from 200\n"
            "[900, 1000) compute: missing\n");
}

TEST(PlanTest, StaleRowsOfAnUnchangedTextStayAsStaleAsTheyWere) {
  Request request;
  request.segments = {{0, 400, 0, {}}, {400, 1000, 390, {2, 12, 32}}};
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 400) exact: unchanged, parent rows from 0\n"
            "[400, 999) moved: unchanged, parent rows from 400, moved by 10, generation 2\n"
            "[999, 1000) compute: last_token, generation 1\n");
  EXPECT_EQ(plan.spans[1].staleness, (Staleness{2, 12, 32}));
}

TEST(PlanTest, ARowThatClaimsToBeExactBehindAStaleOneIsMoved) {
  Request request;
  request.segments = {{0, 400, 0, {}}, {400, 500, 390, {2, 12, 32}}, {500, 1000, 500, {}}};
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(plan.exact_rows, 400);
  EXPECT_EQ(plan.spans[2].kind, SpanKind::kMoved);
  EXPECT_EQ(plan.spans[2].staleness.generation, 1u);
}

TEST(PlanTest, AChangeOfOriginSplitsASpanAndIsNoEdit) {
  Request request;
  request.segments = {{0, 100, 0, {}},
                      {100, 500, 90, {1, 10, 32}},
                      {500, 700, 490, {1, 10, 432}},  // goes on: the same δ
                      {700, 1000, 650, {1, 50, 32}}};
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 100) exact: unchanged, parent rows from 0\n"
            "[100, 700) moved: unchanged, parent rows from 100, moved by 10, generation 1\n"
            "[700, 999) moved: unchanged, parent rows from 700, moved by 50, generation 1\n"
            "[999, 1000) compute: last_token, generation 1\n");
  EXPECT_EQ(plan.spans[1].staleness, (Staleness{1, 10, 32}));
}

TEST(PlanTest, TooStaleRowsAreComputed) {
  Request request;
  request.edit.max_generation = 3;
  request.segments = {{0, 500, 0, {}}, {500, 700, 500, {2, 9, 40}}, {700, 1000, 700, {3, 9, 240}}};
  request.tokens = Replaced(Document(), 100, 110, 10);
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(plan.spans.back().reason, std::string("too_stale"));
  EXPECT_EQ(plan.spans.back().begin, 700);
  EXPECT_EQ(plan.spans[3].staleness, (Staleness{3, 29, 40}));
}

TEST(PlanTest, TheRiskLimitComputesEverythingAfterTheExactPart) {
  Request request;
  request.tokens = Replaced(Document(), 300, 300, 10);  // 667 of 1,010 rows would be stale
  request.edit.max_stale_share = 667.0 / 1010;
  EXPECT_EQ(Make(request).moved_rows, 667);
  request.edit.max_stale_share = 666.0 / 1010;
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 300) exact: unchanged, parent rows from 0\n"
            "[300, 1010) compute: risk_limit\n");
}

TEST(PlanTest, AChainBeyondTheEditIsTakenBeforeMovedRows) {
  Request request;
  request.tokens = Replaced(Document(), 300, 300, 10);
  request.exact_tokens = 640;
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(Explain(plan),
            "[0, 640) exact: exact_chain\n"
            "[640, 1009) moved: unchanged, parent rows from 630, moved by 10, generation 1\n"
            "[1009, 1010) compute: last_token, generation 1\n");
  EXPECT_EQ(plan.spans[1].staleness.min_distance_tokens, 330u);
}

// After an edit the next one finds rows of several origins; only its own place is recomputed.
TEST(PlanTest, AChainOfEditsStartsFromTheRevisionBefore) {
  Request request;
  request.tokens = Replaced(Document(), 300, 300, 10);
  const Plan first = Make(request);

  request.parent = request.tokens;
  request.segments = SegmentsAfter(first);
  ASSERT_EQ(request.segments.size(), 3u);
  EXPECT_EQ(request.segments[0].end, 342);
  EXPECT_EQ(request.segments[1].origin, 332) << "rotation starts from the stored bytes";
  request.tokens = Replaced(request.tokens, 600, 620, 0);
  const Plan second = Make(request);
  ExpectSound(request, second);
  EXPECT_EQ(Explain(second),
            "[0, 342) exact: unchanged, parent rows from 0\n"
            "[342, 600) moved: unchanged, parent rows from 342, moved by 10, generation 1\n"
            "[600, 632) compute: after_edit, generation 1\n"
            "[632, 989) moved: unchanged, parent rows from 652, moved by -10, generation 2\n"
            "[989, 990) compute: last_token, generation 1\n");
  EXPECT_EQ(second.spans[3].staleness, (Staleness{2, 30, 32}));
}

TEST(PlanTest, RowsComputedBehindMovedOnesAreNeverExactLater) {
  Request request;
  request.tokens = Replaced(Document(), 300, 300, 10);
  request.parent = request.tokens;
  const Plan first = Make([&] {
    Request edit;
    edit.tokens = request.tokens;
    return edit;
  }());
  request.segments = SegmentsAfter(first);
  const Plan again = Make(request);
  ExpectSound(request, again);
  EXPECT_EQ(again.exact_rows, 342);
  EXPECT_EQ(again.moved_rows, 667);
  EXPECT_EQ(again.spans[1].staleness, first.spans[2].staleness) << "no edit, so no staler";
}

TEST(PlanTest, ReuseThatCostsMoreThanPrefillIsRefused) {
  Request request;
  request.tokens = Replaced(Document(), 300, 300, 10);
  request.costs = CostModel();
  request.costs.attention_us_per_token_k = 0;
  request.costs.prefill_us_per_token = 4;  // place 3 + rotate 1
  request.costs.run_us = 0;
  request.costs.lookup_us = 0;
  EXPECT_EQ(Explain(Make(request)),
            "[0, 300) exact: unchanged, parent rows from 0\n"
            "[300, 1010) compute: not_worth_it\n");
  request.costs.prefill_us_per_token = 4.001;
  EXPECT_EQ(Make(request).moved_rows, 667);
}

TEST(PlanTest, AMovedStretchMustPayForTheRunItSplitsOff) {
  Request request;
  request.tokens = Replaced(Document(), 300, 300, 10);
  request.costs.attention_us_per_token_k = 0;
  request.costs.prefill_us_per_token = 5;  // 667 rows: 3,335 to compute, 2,668 to move
  request.costs.lookup_us = 0;
  request.costs.run_us = 667;
  EXPECT_EQ(Make(request).moved_rows, 0);
  request.costs.run_us = 666;
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(plan.moved_rows, 667);
  EXPECT_DOUBLE_EQ(plan.prefill_us, 5.0 * 1010);
  EXPECT_DOUBLE_EQ(plan.predicted_us, 3.0 * 300 + 4.0 * 667 + 5.0 * 43 + 666);
}

TEST(PlanTest, APlanThatDoesNotPayForItsLookupIsDropped) {
  Request request;
  request.policy = Policy::kExact;
  request.exact_tokens = 100;
  request.costs.attention_us_per_token_k = 0;
  request.costs.prefill_us_per_token = 8;
  request.costs.lookup_us = 500;  // 100 rows save 5 each
  const Plan dropped = Make(request);
  EXPECT_EQ(Explain(dropped), "[0, 1000) compute: not_worth_it\n");
  EXPECT_EQ(dropped.predicted_us, dropped.prefill_us);
  request.costs.lookup_us = 499;
  EXPECT_EQ(Make(request).exact_rows, 100);
}

TEST(PlanTest, BadInputIsRefusedByFieldValueAndLimit) {
  const auto message = [](auto change) {
    Request request;
    change(request);
    const auto plan = MakePlan(request.input());
    if (plan) return std::string("accepted");
    EXPECT_EQ(plan.error().code(), Code::kInvalidArgument);
    return plan.error().message();
  };
  EXPECT_EQ(message([](auto& r) { r.tokens.clear(); }),
            "tokens has 0 entries; the limit is 1 to 16777216");
  EXPECT_EQ(message([](auto& r) { r.exact_tokens = -1; }),
            "exact_tokens is -1; the limit is 0 to 1000");
  EXPECT_EQ(message([](auto& r) { r.exact_tokens = 1001; }),
            "exact_tokens is 1001; the limit is 0 to 1000");
  EXPECT_EQ(message([](auto& r) { r.policy = static_cast<Policy>(5); }),
            "policy is 5; the limit is 0 to 4");
  EXPECT_EQ(message([](auto& r) {
              r.segments = {{0, 1001, 0, {}}};
            }),
            "parent_segments[0] is [0, 1001); it must lie in [0, 1000) and not be empty");
  EXPECT_EQ(message([](auto& r) {
              r.segments = {{5, 5, 0, {}}};
            }),
            "parent_segments[0] is [5, 5); it must lie in [0, 1000) and not be empty");
  EXPECT_EQ(message([](auto& r) {
              r.segments = {{-1, 5, 0, {}}};
            }),
            "parent_segments[0] is [-1, 5); it must lie in [0, 1000) and not be empty");
  EXPECT_EQ(message([](auto& r) {
              r.segments = {{0, 9, 0, {}}, {8, 20, 8, {}}};
            }),
            "parent_segments[1] is [8, 20); it must lie in [9, 1000) and not be empty");
  EXPECT_EQ(message([](auto& r) {
              r.segments = {{0, 9, -1, {}}};
            }),
            "parent_segments[0].origin is -1; the limit is 0 to 16777216");
  EXPECT_EQ(message([](auto& r) { r.parent.clear(); }),
            "parent_segments[0] is [0, 1000); it must lie in [0, 0) and not be empty");
  EXPECT_EQ(message([](auto& r) { r.edit.max_stale_share = 1.5; }),
            "max_stale_share is 1.500000; the limit is 0 to 1");
  EXPECT_EQ(message([](auto& r) { r.edit.max_stale_share = std::nan(""); }),
            "max_stale_share is nan; the limit is 0 to 1");
  EXPECT_EQ(message([](auto& r) { r.costs.run_us = -1; }),
            "run_us is -1.000000; it must be finite and not negative");
}

TEST(PlanTest, EveryCostIsChecked) {
  for (double CostModel::*field :
       {&CostModel::prefill_us_per_token, &CostModel::attention_us_per_token_k,
        &CostModel::place_us_per_token, &CostModel::rotate_us_per_token, &CostModel::run_us,
        &CostModel::lookup_us, &CostModel::blend_us_per_token}) {
    Request request;
    request.costs.*field = std::numeric_limits<double>::infinity();
    EXPECT_FALSE(MakePlan(request.input()).has_value());
  }
}

TEST(PlanTest, TheLongestPromptIsPlannedAndOneTokenMoreIsRefused) {
  Request request;
  request.tokens = Document(kMaxPlanTokens);
  request.parent = request.tokens;
  request.segments = ExactRows(kMaxPlanTokens);
  EXPECT_EQ(Make(request).exact_rows, kMaxPlanTokens - 1);
  request.tokens.push_back(0);
  EXPECT_EQ(MakePlan(request.input()).error().message(),
            "tokens has 16777217 entries; the limit is 1 to 16777216");
}

TEST(PlanTest, ExtremeOptionsAreHarmless) {
  Request request;
  request.tokens = Replaced(Document(), 300, 300, 10);
  const auto most = std::numeric_limits<std::uint32_t>::max();
  request.segments = {{0, kDocument, kMaxPlanTokens, {most, most, most}}};
  request.edit = {0, 0, most, 1.0};
  const Plan plan = Make(request);
  ExpectSound(request, plan);
  EXPECT_EQ(plan.spans[2].staleness, (Staleness{most, most, 0}));
  request.edit = {most, most, 0, 0.0};
  ExpectSound(request, Make(request));
}

TEST(PlanTest, OneTokenIsComputed) {
  Request request;
  request.tokens = {7};
  request.parent = {7};
  request.segments = ExactRows(1);
  request.exact_tokens = 1;
  EXPECT_EQ(Explain(Make(request)), "[0, 1) compute: last_token\n");
}

// Random documents, edits, stored rows and options: chains of revisions, each planned from the one
// before, whatever the options were.
TEST(PlanTest, EveryPlanIsSoundAndTheSameAgain) {
  constexpr unsigned kSeed = 20251112;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  const auto some = [&random](std::uint32_t limit) {
    return static_cast<std::uint32_t>(random() % limit);
  };
  const auto below = [&some](std::uint32_t limit) { return static_cast<int>(some(limit)); };
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Request request;
    const int alphabet = 2 + below(60);
    request.parent.resize(random() % 400);
    for (TokenId& id : request.parent) id = below(static_cast<std::uint32_t>(alphabet));
    request.segments.clear();
    for (Position at = 0; at < static_cast<Position>(request.parent.size());) {
      const Position end =
          std::min(at + 1 + below(120), static_cast<Position>(request.parent.size()));
      ParentSegment segment{at, end, at, {}};
      if (below(3) == 0) segment.staleness = {1 + some(4), some(50), some(100)};
      if (below(4) == 0) segment.origin = below(500);
      if (below(5) != 0) request.segments.push_back(segment);
      at = end;
    }
    for (int revision = 0; revision < 5; ++revision) {
      request.tokens = request.parent;
      for (int place = below(4); place > 0; --place) {
        const int at = below(static_cast<std::uint32_t>(request.tokens.size()) + 1);
        const int end = std::min(at + below(40), static_cast<int>(request.tokens.size()));
        request.tokens = Replaced(request.tokens, at, end, below(40), below(100));
      }
      if (request.tokens.empty()) request.tokens.push_back(1);
      request.exact_tokens =
          below(3) == 0 ? below(static_cast<std::uint32_t>(request.tokens.size()) + 1) : 0;
      request.policy = static_cast<Policy>(below(8) == 0 ? below(2) : 2);
      request.edit.after_rows = some(40);
      request.edit.min_run = some(30);
      request.edit.max_generation = some(6);
      request.edit.max_stale_share = below(4) == 0 ? below(100) / 100.0 : 1.0;
      request.costs.run_us = below(3) == 0 ? some(40'000) : 300u;
      request.costs.lookup_us = below(3) == 0 ? some(40'000) : 500u;
      const Plan plan = Make(request);
      ASSERT_NO_FATAL_FAILURE(ExpectSound(request, plan)) << Explain(plan);
      const Plan again = Make(request);
      ASSERT_EQ(Explain(again), Explain(plan));
      ASSERT_EQ(again.predicted_us, plan.predicted_us);
      request.parent = request.tokens;
      request.segments = SegmentsAfter(plan);
    }
  }
}

}  // namespace
}  // namespace kvcommons
