// Oracles O1 to O6 of the specs (positional re-encoding §1.4) on a tiny transformer in double: what
// moved rows must equal, whatever a real model makes of them. The plans are MakePlan's; carrying
// one out is what an engine does, in a few lines.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "align/plan.h"

namespace kvcommons {
namespace {

using Ids = std::vector<TokenId>;
using Row = std::vector<double>;

constexpr unsigned kSeed = 240703157;
constexpr std::size_t kWidth = 16;
constexpr std::size_t kHeads = 2;
constexpr std::size_t kHeadDim = kWidth / kHeads;
constexpr std::size_t kVocabulary = 60;

double Omega(std::size_t pair) {
  return std::pow(100.0, -2.0 * static_cast<double>(pair) / kHeadDim);
}

// Half-split pairs of every head, by the angle delta·ω.
void Rotate(Row& row, double delta) {
  for (std::size_t head = 0; head < kWidth; head += kHeadDim) {
    for (std::size_t c = 0; c < kHeadDim / 2; ++c) {
      double& x = row[head + c];
      double& y = row[head + c + kHeadDim / 2];
      const double turned = x * std::cos(delta * Omega(c)) - y * std::sin(delta * Omega(c));
      y = x * std::sin(delta * Omega(c)) + y * std::cos(delta * Omega(c));
      x = turned;
    }
  }
}

// K and V of one token in all layers, with the position at which K was rotated.
struct CachedToken {
  std::vector<Row> keys;
  std::vector<Row> values;
};
using Cache = std::vector<CachedToken>;

class TinyModel {
 public:
  explicit TinyModel(std::size_t layer_count) : random_(kSeed), layers_(layer_count) {
    embedding_ = Matrix(kVocabulary, kWidth, 1);
    for (Layer& layer : layers_) {
      layer = {Matrix(kWidth, kWidth, 0.4),     Matrix(kWidth, kWidth, 0.4),
               Matrix(kWidth, kWidth, 0.4),     Matrix(kWidth, kWidth, 0.4),
               Matrix(2 * kWidth, kWidth, 0.4), Matrix(kWidth, 2 * kWidth, 0.4)};
    }
  }

  // Computes row `row` of `cache` at `position`, reading rows before it; returns the logits.
  Row Forward(Cache& cache, std::size_t row, TokenId id, Position position) const {
    Row hidden = embedding_[static_cast<std::size_t>(id)];
    CachedToken& own = cache[row];
    own.keys.assign(layers_.size(), Row());
    own.values.assign(layers_.size(), Row());
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      const Row input = Normalized(hidden);
      Row query = Times(layer.query, input);
      own.keys[l] = Times(layer.key, input);
      own.values[l] = Times(layer.value, input);
      Rotate(query, position);
      Rotate(own.keys[l], position);
      Add(hidden, Times(layer.output, Attend(cache, row, l, query)));
      Row middle = Times(layer.up, Normalized(hidden));
      for (double& x : middle) x = std::tanh(x);
      Add(hidden, Times(layer.down, middle));
    }
    return Times(embedding_, Normalized(hidden));
  }

  // Everything from row 0, whose position is `start`; returns the last row's logits.
  Row Prefill(Cache& cache, const Ids& ids, Position start = 0) const {
    cache.assign(ids.size(), CachedToken());
    Row logits;
    for (std::size_t row = 0; row < ids.size(); ++row) {
      logits = Forward(cache, row, ids[row], start + static_cast<Position>(row));
    }
    return logits;
  }

  // Places what the plan reuses from the parent's stored rows, then computes the rest in order.
  // `stored` receives the new revision: reused rows keep their stored bytes, as the store does.
  Row CarryOut(const Plan& plan, const Ids& ids, const Cache& parent_stored, Cache& cache,
               Cache& stored) const {
    cache.assign(ids.size(), CachedToken());
    stored.assign(ids.size(), CachedToken());
    for (const Span& span : plan.spans) {
      for (Position i = span.begin; span.source == SpanSource::kParent && i < span.end; ++i) {
        const auto row = static_cast<std::size_t>(i);
        stored[row] = parent_stored[static_cast<std::size_t>(span.parent_begin + i - span.begin)];
        cache[row] = stored[row];
        if (span.delta == 0) continue;
        for (Row& key : cache[row].keys) Rotate(key, span.delta);
      }
    }
    Row logits;
    for (const Span& span : plan.spans) {
      for (Position i = span.begin; span.source == SpanSource::kNone && i < span.end; ++i) {
        const auto row = static_cast<std::size_t>(i);
        logits = Forward(cache, row, ids[row], i);
        stored[row] = cache[row];
      }
    }
    return logits;
  }

 private:
  using Rows = std::vector<Row>;
  struct Layer {
    Rows query, key, value, output, up, down;
  };

  Rows Matrix(std::size_t rows, std::size_t columns, double scale) {
    std::normal_distribution<double> normal(0, scale);
    Rows matrix(rows, Row(columns));
    for (Row& row : matrix) {
      for (double& x : row) x = normal(random_);
    }
    return matrix;
  }
  static Row Times(const Rows& matrix, const Row& x) {
    Row result(matrix.size(), 0);
    for (std::size_t i = 0; i < matrix.size(); ++i) {
      for (std::size_t j = 0; j < x.size(); ++j) result[i] += matrix[i][j] * x[j];
    }
    return result;
  }
  static void Add(Row& x, const Row& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }
  static Row Normalized(Row x) {
    double sum = 1e-6;
    for (const double value : x) sum += value * value / static_cast<double>(x.size());
    for (double& value : x) value /= std::sqrt(sum);
    return x;
  }
  static Row Attend(const Cache& cache, std::size_t row, std::size_t layer, const Row& query) {
    Row result(kWidth, 0);
    for (std::size_t head = 0; head < kWidth; head += kHeadDim) {
      Row weights(row + 1);
      double most = -1e300;
      for (std::size_t i = 0; i <= row; ++i) {
        double score = 0;
        for (std::size_t j = head; j < head + kHeadDim; ++j) {
          score += query[j] * cache[i].keys[layer][j];
        }
        weights[i] = score / std::sqrt(static_cast<double>(kHeadDim));
        most = std::max(most, weights[i]);
      }
      double sum = 0;
      for (double& weight : weights) sum += weight = std::exp(weight - most);
      for (std::size_t i = 0; i <= row; ++i) {
        for (std::size_t j = head; j < head + kHeadDim; ++j) {
          result[j] += weights[i] / sum * cache[i].values[layer][j];
        }
      }
    }
    return result;
  }

  std::mt19937 random_;
  std::vector<Layer> layers_;
  Rows embedding_;
};

double Difference(const Row& x, const Row& y) {
  double most = x.size() == y.size() ? 0 : 1e300;
  for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    most = std::max(most, std::abs(x[i] - y[i]));
  }
  return most;
}

double Difference(const CachedToken& x, const CachedToken& y) {
  double most = x.keys.size() == y.keys.size() ? 0 : 1e300;
  for (std::size_t l = 0; l < std::min(x.keys.size(), y.keys.size()); ++l) {
    most = std::max({most, Difference(x.keys[l], y.keys[l]), Difference(x.values[l], y.values[l])});
  }
  return most;
}

double Difference(const Cache& x, const Cache& y) {
  double most = x.size() == y.size() ? 0 : 1e300;
  for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    most = std::max(most, Difference(x[i], y[i]));
  }
  return most;
}

Ids RandomIds(std::mt19937& random, std::size_t size) {
  Ids ids(size);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % kVocabulary);
  return ids;
}

Ids Replaced(Ids ids, std::size_t begin, std::size_t end, const Ids& fresh) {
  ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(begin),
            ids.begin() + static_cast<std::ptrdiff_t>(end));
  ids.insert(ids.begin() + static_cast<std::ptrdiff_t>(begin), fresh.begin(), fresh.end());
  return ids;
}

// A document with what the store holds of it.
struct Revision {
  Ids ids;
  Cache stored;
  std::vector<ParentSegment> segments;
};

struct Outcome {
  Plan plan;
  Cache cache;
  Row logits;
  Revision revision;
};

class EditOraclesTest : public testing::Test {
 protected:
  EditOraclesTest() : random_(kSeed) { RecordProperty("seed", static_cast<int>(kSeed)); }

  Revision Prefilled(const TinyModel& model, Ids ids) {
    Revision revision;
    model.Prefill(revision.stored, ids);
    revision.segments = {{0, static_cast<Position>(ids.size()), 0, {}}};
    revision.ids = std::move(ids);
    return revision;
  }

  // Pure PIE: no rows recomputed after an edit, no run too short.
  Outcome Edit(const TinyModel& model, const Revision& parent, const Ids& ids) {
    PlanInput input;
    input.tokens = ids;
    input.parent_tokens = parent.ids;
    input.parent_segments = parent.segments;
    input.policy = Policy::kEdit;
    input.edit.after_rows = 0;
    input.edit.min_run = 0;
    input.costs.lookup_us = 0;
    input.costs.run_us = 0;
    auto plan = MakePlan(input);
    EXPECT_TRUE(plan.has_value());
    Outcome outcome;
    outcome.plan = *plan;
    outcome.logits =
        model.CarryOut(*plan, ids, parent.stored, outcome.cache, outcome.revision.stored);
    outcome.revision.ids = ids;
    outcome.revision.segments = SegmentsAfter(*plan);
    return outcome;
  }

  std::mt19937 random_;
};

// O1: moved rows equal those of the whole old document, run at shifted positions.
TEST_F(EditOraclesTest, O1MovedRowsAreTheOldDocumentShifted) {
  const TinyModel model(3);
  const Ids old_ids = RandomIds(random_, 60);
  const Revision parent = Prefilled(model, old_ids);
  for (const std::size_t inserted : {std::size_t{5}, std::size_t{0}}) {
    const Ids ids = Replaced(old_ids, 20, 23, Ids(inserted, 1));
    const Outcome outcome = Edit(model, parent, ids);
    EXPECT_GT(outcome.plan.moved_rows, 30) << Explain(outcome.plan);
    for (const Span& span : outcome.plan.spans) {
      if (span.kind != SpanKind::kMoved) continue;
      Cache shifted;
      model.Prefill(shifted, old_ids, span.delta);
      for (Position i = span.begin; i < span.end; ++i) {
        const auto row = static_cast<std::size_t>(i);
        const auto old_row = static_cast<std::size_t>(span.parent_begin + i - span.begin);
        ASSERT_LT(Difference(outcome.cache[row], shifted[old_row]), 1e-11) << "row " << row;
      }
    }
  }
}

// O2: in one layer K and V depend on token and position alone.
TEST_F(EditOraclesTest, O2WithOneLayerAnEditEqualsFullPrefill) {
  const TinyModel model(1);
  const Ids old_ids = RandomIds(random_, 60);
  const Revision parent = Prefilled(model, old_ids);
  const Ids ids = Replaced(old_ids, 20, 25, RandomIds(random_, 9));
  const Outcome outcome = Edit(model, parent, ids);
  EXPECT_GT(outcome.plan.moved_rows, 0);
  Cache full;
  const Row logits = model.Prefill(full, ids);
  EXPECT_LT(Difference(outcome.cache, full), 1e-11);
  EXPECT_LT(Difference(outcome.logits, logits), 1e-11);
}

// The same edit in a deeper model is not exact: the oracle above can fail.
TEST_F(EditOraclesTest, WithMoreLayersMovedRowsAreStale) {
  const TinyModel model(3);
  const Ids old_ids = RandomIds(random_, 60);
  const Ids ids = Replaced(old_ids, 20, 25, RandomIds(random_, 9));
  const Outcome outcome = Edit(model, Prefilled(model, old_ids), ids);
  Cache full;
  model.Prefill(full, ids);
  EXPECT_GT(Difference(outcome.cache, full), 1e-3);
  // Rows before exact_end are exact all the same.
  for (std::size_t row = 0; row < static_cast<std::size_t>(outcome.plan.exact_end); ++row) {
    EXPECT_LT(Difference(outcome.cache[row], full[row]), 1e-11) << "row " << row;
  }
}

// O3: the same tokens give the same bits.
TEST_F(EditOraclesTest, O3TheSameTokensGiveTheSameBits) {
  const TinyModel model(3);
  const Ids ids = RandomIds(random_, 60);
  const Revision parent = Prefilled(model, ids);
  const Outcome outcome = Edit(model, parent, ids);
  EXPECT_EQ(outcome.plan.exact_rows, 59);
  EXPECT_EQ(Difference(outcome.cache, parent.stored), 0);
}

// O4: rotation starts from the stored bytes, so going there and back changes no bit.
TEST_F(EditOraclesTest, O4InsertThenDeleteGivesTheBitsOfTheStart) {
  const TinyModel model(3);
  const Ids old_ids = RandomIds(random_, 60);
  const Revision parent = Prefilled(model, old_ids);
  const Outcome inserted = Edit(model, parent, Replaced(old_ids, 20, 20, Ids(7, 3)));
  EXPECT_GT(inserted.plan.moved_rows, 0);
  const Outcome back = Edit(model, inserted.revision, old_ids);
  for (const Span& span : back.plan.spans) {
    if (span.kind == SpanKind::kCompute) continue;
    EXPECT_EQ(span.delta, 0) << Explain(back.plan);
    for (auto row = static_cast<std::size_t>(span.begin); row < static_cast<std::size_t>(span.end);
         ++row) {
      ASSERT_EQ(Difference(back.cache[row], parent.stored[row]), 0) << "row " << row;
    }
  }
  EXPECT_GT(back.plan.moved_rows, 30) << "still told as stale";
}

// O5: nothing follows an edit at the end.
TEST_F(EditOraclesTest, O5AnEditAtTheEndEqualsFullPrefill) {
  const TinyModel model(3);
  const Ids old_ids = RandomIds(random_, 60);
  const Ids ids = Replaced(old_ids, 50, 60, RandomIds(random_, 14));
  const Outcome outcome = Edit(model, Prefilled(model, old_ids), ids);
  EXPECT_GE(outcome.plan.exact_rows, 50);
  Cache full;
  const Row logits = model.Prefill(full, ids);
  EXPECT_LT(Difference(outcome.logits, logits), 1e-11);
  EXPECT_LT(Difference(outcome.cache, full), 1e-11);
}

// O6: one pass over several places equals the edits one after another, left to right. Fresh tokens
// are ids that the document lacks, so that both ways keep the same rows.
TEST_F(EditOraclesTest, O6SeveralPlacesInOnePassEqualOneAtATime) {
  const TinyModel model(3);
  Ids old_ids = RandomIds(random_, 80);
  for (TokenId& id : old_ids) id %= 50;
  const Revision parent = Prefilled(model, old_ids);
  const Ids first = Replaced(old_ids, 15, 18, {51, 52, 51, 53, 54});
  const Ids second = Replaced(first, 40, 40, {55, 56});
  const Ids third = Replaced(second, 60, 64, {57});

  const Outcome one_pass = Edit(model, parent, third);
  const Outcome after_first = Edit(model, parent, first);
  const Outcome after_second = Edit(model, after_first.revision, second);
  const Outcome after_third = Edit(model, after_second.revision, third);

  ASSERT_GE(one_pass.plan.spans.size(), 7u) << Explain(one_pass.plan);
  // The last token is computed in every pass, so where it was not edited it is fresher after three.
  for (std::size_t row = 0; row + 1 < third.size(); ++row) {
    ASSERT_LT(Difference(one_pass.cache[row], after_third.cache[row]), 1e-11) << "row " << row;
  }
  EXPECT_LT(Difference(one_pass.logits, after_third.logits), 1e-11);
}

}  // namespace
}  // namespace kvcommons
