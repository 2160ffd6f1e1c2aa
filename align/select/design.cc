// `design` (ours): selection as experimental design. A chunk's loadings say how the errors of its
// rows go together, so recomputing one row tells something about others; chosen is the row that
// lowers the attention-weighted posterior variance most, again and again:
//
//   s* = argmax_s Σ_t a_t C_ts² / (C_ss + η),   C ← C − C_:s* C_s*: / (C_s*s* + η)
//
// with C = U P Uᵀ + diag(ν_t), block-diagonal over chunks, P = I before anything is measured, and η
// a tenth of the mean variance. ν_t is what loadings leave. Only P changes, rank × rank: a row's
// own ν_t is gone once it is recomputed, and so is the row from the sum. With C diagonal it is
// query attention; a chunk without loadings is given that.
//
// Rows are taken one by one. In aligned blocks of 8 the same budget recovered 0.85 of the gap where
// single rows recovered 0.94 (docs/fidelity.md): neighbours say the same twice.
//
// The question's attention is that of deep layers: on six prompts of 2,000 tokens, rows chosen by
// the middle layers left 0.065 of KL where these leave 0.030, and on ten short ones both leave the
// same. Where looking is dear there is none, and all rows count alike. Then ν_t has, for the first
// rows of a chunk, what these err by on their own (FirstRowVariances), so that they are
// chosen early; behind a look they cost more than they bring (docs/fidelity.md).
//
// Source: specs: selective recompute §I.

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "align/complete/loadings.h"
#include "align/select/rows.h"
#include "align/select/rules.h"

namespace kvcommons {
namespace {

constexpr double kNoiseShare = 0.1;
constexpr double kTaken = -std::numeric_limits<double>::infinity();

// One chunk's posterior.
class Chunk {
 public:
  Chunk(std::size_t first, std::span<const double> attention, const ChunkLoadings& loadings,
        bool doubt_first_rows, double noise, double variance_without)
      : first_(first), attention_(attention), loadings_(loadings), rank_(loadings.rank) {
    own_variance_ = rank_ > 0 ? double{loadings.residue} : variance_without;
    noise_ = noise;
    posterior_.assign(rank_ * rank_, 0);
    for (std::size_t k = 0; k < rank_; ++k) posterior_[k * rank_ + k] = 1;
    weight_.assign(rank_ * rank_, 0);
    for (std::size_t row = 0; row < attention.size(); ++row) AddWeight(row, attention[row]);
    first_row_variance_.assign(attention.size(), 0);
    if (doubt_first_rows) {
      first_row_variance_ =
          FirstRowVariances(loadings.values, loadings.rank, attention.size(), own_variance_);
    }
    gains_.assign(attention.size(), std::numeric_limits<double>::infinity());
    scored_.assign(attention.size(), 0);
    image_.resize(rank_);
    FindBest();
  }

  double best_gain() const { return gains_[best_]; }

  // Its index among all reused rows.
  std::size_t TakeBest() {
    const std::size_t row = best_;
    const double factor = Image(row);  // uᵀ P u; image_ = P u
    const double variance = factor + OwnVariance(row) + noise_;
    if (variance > 0) {
      for (std::size_t a = 0; a < rank_; ++a) {
        for (std::size_t b = 0; b < rank_; ++b) {
          posterior_[a * rank_ + b] -= image_[a] * image_[b] / variance;
        }
      }
    }
    AddWeight(row, -attention_[row]);
    gains_[row] = kTaken;
    ++taken_;
    FindBest();
    return first_ + row;
  }

 private:
  // weight_ = Σ a_t u_t u_tᵀ over the rows that are not taken.
  void AddWeight(std::size_t row, double attention) {
    const float* u = U(row);
    for (std::size_t a = 0; a < rank_; ++a) {
      for (std::size_t b = 0; b < rank_; ++b) {
        weight_[a * rank_ + b] += attention * double{u[a]} * u[b];
      }
    }
  }

  double OwnVariance(std::size_t row) const { return own_variance_ + first_row_variance_[row]; }

  const float* U(std::size_t row) const { return loadings_.values.data() + row * rank_; }

  double Image(std::size_t row) {
    const float* u = U(row);
    double product = 0;
    for (std::size_t a = 0; a < rank_; ++a) {
      double sum = 0;
      for (std::size_t b = 0; b < rank_; ++b) sum += posterior_[a * rank_ + b] * u[b];
      image_[a] = sum;
      product += sum * u[a];
    }
    return product;
  }

  double Gain(std::size_t row) {
    const double factor = Image(row);
    double others = 0;  // Σ_t a_t (u_tᵀ P u)², this row's own share included
    for (std::size_t a = 0; a < rank_; ++a) {
      double sum = 0;
      for (std::size_t b = 0; b < rank_; ++b) sum += weight_[a * rank_ + b] * image_[b];
      others += image_[a] * sum;
    }
    const double own = factor + OwnVariance(row);
    const double gain = others + attention_[row] * (own * own - factor * factor);
    return own + noise_ > 0 ? std::max(gain, 0.0) / (own + noise_) : 0;
  }

  // What is measured lowers the gains of others, so an old gain is taken for a bound: rows are
  // scored again from the top down, until one that is up to date stands first. Where a gain did
  // rise, its row is taken a little later.
  void FindBest() {
    for (;;) {
      best_ =
          static_cast<std::size_t>(std::max_element(gains_.begin(), gains_.end()) - gains_.begin());
      if (gains_[best_] == kTaken || scored_[best_] == taken_ + 1) return;
      gains_[best_] = Gain(best_);
      scored_[best_] = taken_ + 1;
    }
  }

  std::size_t first_;
  std::span<const double> attention_;
  ChunkLoadings loadings_;
  std::size_t rank_;
  double own_variance_, noise_;  // ν, η
  std::vector<double> first_row_variance_;
  std::vector<double> posterior_;  // P
  std::vector<double> weight_;
  std::vector<double> gains_;        // infinite: never scored
  std::vector<std::size_t> scored_;  // when, in rows taken, + 1
  std::size_t taken_ = 0;
  std::vector<double> image_;
  std::size_t best_ = 0;
};

class DesignRule final : public SelectRule {
 public:
  std::string_view name() const override { return "design"; }
  SelectNeeds Needs(std::uint32_t layer_count) const override {
    SelectNeeds needs;
    needs.question_layers = DeepLayers(layer_count);
    needs.question_optional = true;
    needs.loadings = true;
    return needs;
  }

  Result<Selection> Choose(const SelectRequest& request,
                           const SelectEvidence& evidence) const override {
    const bool looked = !evidence.question_attention.empty();
    const Looking looking = looked ? AtQuestion(request) : Looking{};
    Result<std::vector<double>> attention = std::vector<double>(request.reused_rows(), 1.0);
    if (looked) {
      attention = MeanQuestionAttention(request, evidence, Needs(request.layer_count));
    }
    if (!attention) return Fail(attention.error());
    KVC_FAIL_IF_ERROR(CheckLoadings(request, evidence.loadings));
    const Result<std::size_t> affordable = AffordableRows(request, name(), looking);
    if (!affordable) return Fail(affordable.error());

    const double variance = MeanVariance(evidence.loadings);
    std::vector<Chunk> chunks;
    std::size_t first = 0;
    for (std::size_t i = 0; i < request.chunks.size(); ++i) {
      const auto rows = static_cast<std::size_t>(request.chunks[i].end - request.chunks[i].begin);
      chunks.emplace_back(first, std::span(*attention).subspan(first, rows), evidence.loadings[i],
                          !looked, kNoiseShare * variance, variance);
      first += rows;
    }
    std::vector<std::size_t> indices;
    while (indices.size() < *affordable) {
      const auto best = std::max_element(
          chunks.begin(), chunks.end(),
          [](const Chunk& a, const Chunk& b) { return a.best_gain() < b.best_gain(); });
      indices.push_back(best->TakeBest());
    }
    std::sort(indices.begin(), indices.end());
    return SelectionOf(request, indices, looking);
  }

 private:
  static Status CheckLoadings(const SelectRequest& request,
                              std::span<const ChunkLoadings> loadings) {
    if (loadings.size() != request.chunks.size()) {
      return InvalidArgument("loadings has " + std::to_string(loadings.size()) +
                             " chunks; this request has " + std::to_string(request.chunks.size()));
    }
    for (std::size_t i = 0; i < loadings.size(); ++i) {
      const auto rows = static_cast<std::size_t>(request.chunks[i].end - request.chunks[i].begin);
      KVC_RETURN_IF_ERROR(
          CheckEvidence("loadings.values", loadings[i].values, rows * loadings[i].rank));
      if (!(loadings[i].residue >= 0)) {
        return InvalidArgument("loadings.residue of chunk " + std::to_string(i) + " is " +
                               std::to_string(loadings[i].residue) + "; it is 0 or more");
      }
    }
    return Status();
  }

  // Of a row with loadings, all chunks alike; 1 where no chunk has any.
  static double MeanVariance(std::span<const ChunkLoadings> loadings) {
    double sum = 0, rows = 0;
    for (const ChunkLoadings& chunk : loadings) {
      if (chunk.rank == 0) continue;
      for (const float value : chunk.values) sum += double{value} * value;
      const auto count = static_cast<double>(chunk.values.size() / chunk.rank);
      sum += double{chunk.residue} * count;
      rows += count;
    }
    return rows > 0 ? sum / rows : 1;
  }
};

}  // namespace

std::unique_ptr<SelectRule> MakeDesignRule() { return std::make_unique<DesignRule>(); }

}  // namespace kvcommons
