// `design` (ours): selection as experimental design. A chunk's loadings say how the errors of its
// rows go together, so recomputing one row tells something about others; chosen is what lowers the
// attention-weighted posterior variance most, again and again:
//
//   s* = argmax_s Σ_t a_t C_ts² / (C_ss + ν),   C ← C − C_:s* C_s*: / (C_s*s* + ν)
//
// with C the mean of U_l U_lᵀ + residue_l over the layers behind the first fifth, block-diagonal
// over chunks, and ν a tenth of the mean variance. Taken in aligned blocks of kBlockRows, which a
// pass computes faster than scattered rows and which are as good. With C diagonal it is query
// attention; a chunk without loadings is given that.
//
// Source: specs: selective recompute §I.

#include <algorithm>
#include <limits>
#include <string>

#include "align/select/rows.h"
#include "align/select/rules.h"

namespace kvcommons {
namespace {

constexpr std::size_t kBlockRows = 8;
constexpr double kNoiseShare = 0.1;
// The first layers' errors are small and of another kind.
constexpr std::uint32_t FirstLayer(std::uint32_t layer_count) { return layer_count / 5; }
// Above this a chunk's covariance does not fit a request's memory (128 MiB), and it goes without.
constexpr std::size_t kMaxCovarianceRows = 4096;

// One chunk's posterior.
class Chunk {
 public:
  Chunk(std::size_t first, std::size_t rows, std::span<const double> attention,
        const ChunkLoadings& loadings, std::uint32_t layers, double variance)
      : first_(first),
        rows_(rows),
        attention_(attention.begin(), attention.end()),
        noise_(kNoiseShare * variance) {
    taken_.assign((rows + kBlockRows - 1) / kBlockRows, false);
    if (loadings.rank == 0 || rows > kMaxCovarianceRows) {
      diagonal_.assign(rows, variance);
    } else {
      covariance_.assign(rows * rows, 0);
      for (std::uint32_t layer = FirstLayer(layers); layer < layers; ++layer) {
        AddLayer(loadings, layer, layers - FirstLayer(layers));
      }
    }
    Score();
  }

  double best_gain() const { return best_gain_; }

  // Takes the best block, or the first `at_most` rows of it; indices among all reused rows.
  void TakeBest(std::size_t at_most, std::vector<std::size_t>& indices) {
    taken_[best_] = true;
    const std::size_t begin = best_ * kBlockRows;
    const std::size_t end = std::min({rows_, begin + kBlockRows, begin + at_most});
    for (std::size_t row = begin; row < end; ++row) {
      indices.push_back(first_ + row);
      Condition(row);
    }
    Score();
  }

 private:
  // Adds one of `count` layers to their mean.
  void AddLayer(const ChunkLoadings& loadings, std::uint32_t layer, std::uint32_t count) {
    const std::size_t rank = loadings.rank;
    const auto u = loadings.values.subspan(layer * rows_ * rank, rows_ * rank);
    for (std::size_t t = 0; t < rows_; ++t) {
      covariance_[t * rows_ + t] += double{loadings.residue[layer]} / count;
      for (std::size_t s = t; s < rows_; ++s) {
        double product = 0;
        for (std::size_t k = 0; k < rank; ++k) {
          product += double{u[t * rank + k]} * u[s * rank + k];
        }
        covariance_[t * rows_ + s] += product / count;
        if (s != t) covariance_[s * rows_ + t] += product / count;
      }
    }
  }

  double Gain(std::size_t s) const {
    if (covariance_.empty()) return attention_[s] * diagonal_[s];
    const double* row = &covariance_[s * rows_];
    double sum = 0;
    for (std::size_t t = 0; t < rows_; ++t) sum += attention_[t] * row[t] * row[t];
    const double variance = row[s] + noise_;
    return variance > 0 ? sum / variance : 0;
  }

  void Condition(std::size_t s) {
    if (covariance_.empty()) {
      diagonal_[s] = 0;
      return;
    }
    const std::vector<double> column(&covariance_[s * rows_], &covariance_[s * rows_] + rows_);
    const double variance = column[s] + noise_;
    if (variance <= 0) return;
    for (std::size_t t = 0; t < rows_; ++t) {
      const double share = column[t] / variance;
      for (std::size_t u = 0; u < rows_; ++u) covariance_[t * rows_ + u] -= share * column[u];
    }
  }

  void Score() {
    best_gain_ = -std::numeric_limits<double>::infinity();
    for (std::size_t block = 0; block < taken_.size(); ++block) {
      if (taken_[block]) continue;
      double gain = 0;
      const std::size_t end = std::min(rows_, (block + 1) * kBlockRows);
      for (std::size_t row = block * kBlockRows; row < end; ++row) gain += Gain(row);
      if (gain > best_gain_) {
        best_gain_ = gain;
        best_ = block;
      }
    }
  }

  std::size_t first_;
  std::size_t rows_;
  std::vector<double> attention_;
  std::vector<double> covariance_;  // [row][row]; empty: diagonal_
  std::vector<double> diagonal_;
  double noise_;             // ν
  std::vector<bool> taken_;  // blocks
  std::size_t best_ = 0;
  double best_gain_ = 0;
};

class DesignRule final : public SelectRule {
 public:
  std::string_view name() const override { return "design"; }
  SelectNeeds Needs(std::uint32_t layer_count) const override {
    SelectNeeds needs;
    needs.question_layers = MiddleLayers(layer_count);
    needs.loadings = true;
    return needs;
  }

  Result<Selection> Choose(const SelectRequest& request,
                           const SelectEvidence& evidence) const override {
    auto attention = MeanQuestionAttention(request, evidence, Needs(request.layer_count));
    if (!attention) return Fail(attention.error());
    KVC_FAIL_IF_ERROR(CheckLoadings(request, evidence.loadings));
    const Result<std::size_t> affordable = AffordableRows(request, name(), AtQuestion(request));
    if (!affordable) return Fail(affordable.error());

    const double variance = MeanVariance(request, evidence.loadings);
    std::vector<Chunk> chunks;
    std::size_t first = 0;
    for (std::size_t i = 0; i < request.chunks.size(); ++i) {
      const auto rows = static_cast<std::size_t>(request.chunks[i].end - request.chunks[i].begin);
      chunks.emplace_back(first, rows, std::span(*attention).subspan(first, rows),
                          evidence.loadings[i], request.layer_count, variance);
      first += rows;
    }
    std::vector<std::size_t> indices;
    while (indices.size() < *affordable) {
      const auto best = std::max_element(
          chunks.begin(), chunks.end(),
          [](const Chunk& a, const Chunk& b) { return a.best_gain() < b.best_gain(); });
      best->TakeBest(*affordable - indices.size(), indices);
    }
    std::sort(indices.begin(), indices.end());
    return SelectionOf(request, indices, AtQuestion(request));
  }

 private:
  static Status CheckLoadings(const SelectRequest& request,
                              std::span<const ChunkLoadings> loadings) {
    if (loadings.size() != request.chunks.size()) {
      return InvalidArgument("loadings has " + std::to_string(loadings.size()) +
                             " chunks; this request has " + std::to_string(request.chunks.size()));
    }
    for (std::size_t i = 0; i < loadings.size(); ++i) {
      if (loadings[i].rank == 0) continue;
      const auto rows = static_cast<std::size_t>(request.chunks[i].end - request.chunks[i].begin);
      KVC_RETURN_IF_ERROR(CheckEvidence("loadings.values", loadings[i].values,
                                        rows * loadings[i].rank * request.layer_count));
      KVC_RETURN_IF_ERROR(
          CheckEvidence("loadings.residue", loadings[i].residue, request.layer_count));
    }
    return Status();
  }

  // Of a row with loadings, all chunks and counted layers alike; 1 where no chunk has any.
  static double MeanVariance(const SelectRequest& request,
                             std::span<const ChunkLoadings> loadings) {
    double sum = 0, rows = 0;
    for (std::size_t i = 0; i < loadings.size(); ++i) {
      if (loadings[i].rank == 0) continue;
      const std::uint32_t first = FirstLayer(request.layer_count);
      const auto count = static_cast<std::size_t>(request.chunks[i].end - request.chunks[i].begin);
      for (const float value : loadings[i].values.subspan(first * count * loadings[i].rank)) {
        sum += double{value} * value;
      }
      for (const float residue : loadings[i].residue.subspan(first)) {
        sum += double{residue} * static_cast<double>(count);
      }
      rows += static_cast<double>(count) * (request.layer_count - first);
    }
    return rows > 0 ? sum / rows : 1;
  }
};

}  // namespace

std::unique_ptr<SelectRule> MakeDesignRule() { return std::make_unique<DesignRule>(); }

}  // namespace kvcommons
