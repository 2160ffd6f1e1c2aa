// What completion, residual or a rule's own, does to the rows that were not recomputed.

#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "agents/rag/compose_testing.h"

namespace kvcommons {
namespace {

// The rule `shift`, which corrects without loadings.
class ComposeShift : public Compose {
 protected:
  // ‖computed − stored‖ of all rows at the check layer, where every row is computed in full.
  std::vector<double> Divergence(const std::vector<std::byte>& full,
                                 const std::vector<std::byte>& stored, bool value) const {
    std::vector<double> divergence;
    for (std::uint32_t row = 0; row < kRows; ++row) {
      const auto a = Row(full, kCheckLayer, value, row), b = Row(stored, kCheckLayer, value, row);
      double sum = 0;
      for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - b[i], 2);
      divergence.push_back(std::sqrt(sum));
    }
    return divergence;
  }
  // What the rule makes of these divergences.
  std::vector<bool> IsProbe(const std::array<std::vector<double>, 2>& divergence,
                            double budget) const {
    const std::vector<SelectChunk> chunks{{0, 40}, {40, 80}, {80, 120}};
    SelectRequest request;
    request.chunks = chunks;
    request.layer_count = engine_->profile().layer_count;
    request.budget = budget;
    request.check_cost_layers = 1.156;
    std::array<std::vector<float>, 2> squares;
    for (const std::size_t plane : {0U, 1U}) {
      for (const double d : divergence[plane]) squares[plane].push_back(static_cast<float>(d * d));
    }
    SelectEvidence evidence;
    evidence.key_deviation = squares[0];
    evidence.value_deviation = squares[1];
    std::vector<bool> is_probe(kRows);
    const auto selection = (*MakeSelectRule("shift"))->Select(request, evidence);
    EXPECT_TRUE(selection.has_value());
    for (const Position row : selection->rows) is_probe[static_cast<std::size_t>(row)] = true;
    return is_probe;
  }
};

TEST_F(ComposeShift, RowsThatWereNotRecomputedAreMovedByTheMeanResidualOfTheirProbes) {
  engine_->Clear();
  const Composer composer = MakeComposer();
  ASSERT_TRUE(engine_->RunRest(composer.prompt()).ok());
  const std::vector<std::byte> full = Rows(*engine_, kBegin, kRows);
  const std::vector<std::byte> stored = RowsAfter({"none", 0, false, 1});
  ComposeReport report;
  const std::vector<std::byte> moved = RowsAfter({"shift", 0.3, false, 1}, &report);
  const std::uint32_t layers = engine_->profile().layer_count;
  EXPECT_GT(report.recomputed, 20U);
  EXPECT_EQ(report.corrected, 3 * 2 * (layers - 1));
  EXPECT_EQ(report.corrected_rows, std::uint64_t{kRows - report.recomputed} * (layers - 1));
  EXPECT_EQ(report.deviation.size(), 3U);

  const std::array<std::vector<double>, 2> divergence{Divergence(full, stored, false),
                                                      Divergence(full, stored, true)};
  const std::vector<bool> is_probe = IsProbe(divergence, 0.3);
  ASSERT_EQ(std::count(is_probe.begin(), is_probe.end(), true), report.recomputed);
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    for (const bool value : {false, true}) {
      for (std::uint32_t first = 0; first < kRows; first += kChunkRows) {
        std::vector<double> sum;
        double of_probes = 0, probes = 0;
        for (std::uint32_t row = first; row < first + kChunkRows; ++row) {
          if (!is_probe[row]) continue;
          const auto a = Row(moved, layer, value, row), b = Row(stored, layer, value, row);
          sum.resize(a.size());
          for (std::size_t i = 0; i < a.size(); ++i) sum[i] += double{a[i]} - b[i];
          of_probes += divergence[value ? 1 : 0][row];
          ++probes;
        }
        ASSERT_GT(probes, 0);
        for (std::uint32_t row = first; row < first + kChunkRows; ++row) {
          if (is_probe[row]) continue;
          const double w =
              layer == 0 ? 0 : std::min(1.0, divergence[value ? 1 : 0][row] / (of_probes / probes));
          std::vector<float> wanted = Row(stored, layer, value, row);
          for (std::size_t i = 0; i < wanted.size(); ++i) {
            wanted[i] += static_cast<float>(w * sum[i] / probes);
          }
          EXPECT_LT(RelativeError(Row(moved, layer, value, row), wanted), 1e-4)
              << "layer " << layer << (value ? " value " : " key ") << row;
        }
      }
    }
  }
}

TEST_F(ComposeShift, IsDeterministicAndLeavesStoredRowsAlone) {
  const std::vector<std::byte> planes = chunks_[0].planes;
  const std::vector<std::byte> first = RowsAfter({"shift", 0.3, false, 1});
  const std::vector<float> logits = Copy(engine_->Logits(0));
  EXPECT_EQ(RowsAfter({"shift", 0.3, false, 1}), first);
  EXPECT_EQ(Copy(engine_->Logits(0)), logits);
  EXPECT_EQ(chunks_[0].planes, planes);
}

TEST_F(ComposeShift, AChunkWithoutProbesIsLeftAlone) {
  const std::vector<std::byte> stored = RowsAfter({"none", 0, false, 1});
  ComposeReport report;
  const std::vector<std::byte> moved = RowsAfter({"shift", 0.05, false, 1}, &report);
  const std::uint32_t layers = engine_->profile().layer_count;
  ASSERT_EQ(report.recomputed, 1U);
  EXPECT_EQ(report.corrected, 2 * (layers - 1));
  EXPECT_EQ(report.left_few_rows, 2 * 2 * (layers - 1));
  EXPECT_EQ(report.corrected_rows, std::uint64_t{kChunkRows - 1} * (layers - 1));
  std::uint32_t alone = 0;
  for (std::uint32_t first = 0; first < kRows; first += kChunkRows) {
    bool same = true;
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      for (std::uint32_t row = first; row < first + kChunkRows; ++row) {
        for (const bool value : {false, true}) {
          same &= RowOf(*engine_, moved, kRows, layer, value, row) ==
                  RowOf(*engine_, stored, kRows, layer, value, row);
        }
      }
    }
    alone += same ? 1 : 0;
  }
  EXPECT_EQ(alone, 2U);
}

TEST_F(ComposeShift, ResidualCompletionTakesItsPlace) {
  ComposeReport own, residual;
  RowsAfter({"shift", 0.05, false, 1}, &own);
  RowsAfter({"shift", 0.05, true, 1}, &residual);
  // One probe moves its chunk, and is too few for the other.
  EXPECT_GT(own.corrected, 0U);
  EXPECT_EQ(residual.corrected, 0U);
  EXPECT_EQ(residual.left_few_rows, 3 * 2 * (engine_->profile().layer_count - 1));
}

// The same rows and loadings in blocks of `block_tokens`.
struct ChunkInBlocks {
  ChunkInBlocks(const Engine& engine, const CanonicalChunk& chunk, std::uint32_t block_tokens) {
    const PlaneLayout planes = engine.profile().planes();
    const auto rows = static_cast<std::uint32_t>(chunk.tokens.size());
    const std::size_t stride = std::size_t{rows} * chunk.rank + 1;
    view.rank = chunk.rank;
    for (std::uint32_t first = 0; first < rows; first += block_tokens) {
      const std::uint32_t count = std::min(block_tokens, rows - first);
      std::vector<std::byte>& block = blocks.emplace_back(planes.BlockBytes(count));
      for (std::uint32_t plane = 0; plane < 2 * engine.profile().layer_count; ++plane) {
        const std::size_t row_bytes =
            planes.PlaneOffset(plane + 1, 1) - planes.PlaneOffset(plane, 1);
        std::copy_n(chunk.planes.begin() + static_cast<std::ptrdiff_t>(
                                               planes.PlaneOffset(plane, rows) + first * row_bytes),
                    count * row_bytes,
                    block.begin() + static_cast<std::ptrdiff_t>(planes.PlaneOffset(plane, count)));
      }
      std::vector<float>& of_block = loadings.emplace_back();
      for (std::size_t layer = 0; layer < chunk.loadings.size(); layer += stride) {
        const float* u = &chunk.loadings[layer + std::size_t{first} * chunk.rank];
        of_block.insert(of_block.end(), u, u + std::size_t{count} * chunk.rank);
        of_block.push_back(chunk.loadings[layer + stride - 1]);
      }
      view.parts.push_back({block.data(), count, of_block.data()});
    }
  }

  std::vector<std::vector<std::byte>> blocks;
  std::vector<std::vector<float>> loadings;
  ComposeChunk view;
};

TEST_F(ComposeShift, RowsInBlocksAreCorrectedAsInOnePiece) {
  for (const bool completion : {false, true}) {
    const ComposerOptions options{"shift", 0.3, completion, 1};
    ComposeReport whole;
    const std::vector<std::byte> wanted = RowsAfter(options, &whole);
    const Composer in_one_piece = MakeComposer();
    const std::span<const TokenId> tokens = in_one_piece.prompt();
    ComposePrompt prompt{{tokens.begin(), tokens.end()}, {head_.span()}, {}};
    std::vector<std::unique_ptr<ChunkInBlocks>> blocks;
    for (std::size_t i = 0; i < chunks_.size(); ++i) {
      blocks.push_back(std::make_unique<ChunkInBlocks>(*engine_, chunks_[i], 16));
      blocks.back()->view.begin = kBegin + static_cast<Position>(i * kChunkRows);
      prompt.chunks.push_back(blocks.back()->view);
    }
    Composer composer(*engine_, std::move(prompt));
    const auto ran = composer.Run(options);
    ASSERT_TRUE(ran.has_value()) << ran.error().ToString();
    EXPECT_EQ(ran->corrected_rows, whole.corrected_rows);
    const std::vector<std::byte> rows = Rows(*engine_, kBegin, kRows);
    // The noise of attention in fp16 grows over the layers.
    for (std::uint32_t layer = 0; layer < engine_->profile().layer_count; ++layer) {
      for (const bool value : {false, true}) {
        EXPECT_LT(RelativeError(LayerOf(rows, layer, value), LayerOf(wanted, layer, value)), 5e-4)
            << completion << " layer " << layer << (value ? " value" : " key");
      }
    }
  }
}

// Completion, beside what it is on paper: errors of unmeasured rows by the best linear prediction
// from those of measured ones (kriging), in the space of rows and in double precision.
class ComposeCompletion : public Compose {
 protected:
  // U of one plane of a chunk, and ν behind it.
  std::span<const float> Loadings(const CanonicalChunk& chunk, std::size_t plane) const {
    const std::size_t numbers = std::size_t{kChunkRows} * chunk.rank + 1;
    return std::span(chunk.loadings).subspan(plane * numbers, numbers);
  }
  static double Product(std::span<const float> u, std::uint32_t rank, std::size_t a,
                        std::size_t b) {
    double sum = 0;
    for (std::uint32_t k = 0; k < rank; ++k) sum += double{u[a * rank + k]} * u[b * rank + k];
    return sum;
  }
  // [row][measured]: with what weight each measured residual goes into a row's correction.
  static Eigen::MatrixXd Weights(std::span<const float> u, std::uint32_t rank,
                                 std::size_t measured) {
    const double residue = u.back();
    const auto count = static_cast<Eigen::Index>(measured);
    Eigen::MatrixXd covariance(count, count), cross(kChunkRows, count);
    double trace = 0;
    for (std::size_t b = 0; b < measured; ++b) trace += Product(u, rank, b, b);
    for (std::size_t b = 0; b < measured; ++b) {
      const auto column = static_cast<Eigen::Index>(b);
      for (std::size_t a = 0; a < kChunkRows; ++a) {
        cross(static_cast<Eigen::Index>(a), column) = Product(u, rank, a, b);
      }
      covariance.col(column) = cross.col(column).head(count);
      const double own = 6 * std::pow(0.8465, b) * (Product(u, rank, b, b) + residue);
      covariance(column, column) += residue + 0.1 * trace / static_cast<double>(measured) + own;
    }
    return covariance.ldlt().solve(cross.transpose()).transpose();
  }
  // Rows that are attention sinks somewhere: ten times as lively as the chunk's median row.
  std::vector<bool> Wild(const CanonicalChunk& chunk, std::uint32_t layer) const {
    std::vector<double> liveliness;
    for (std::size_t row = 0; row < kChunkRows; ++row) {
      liveliness.push_back(Product(Loadings(chunk, 2 * layer), chunk.rank, row, row) +
                           Product(Loadings(chunk, 2 * layer + 1), chunk.rank, row, row));
    }
    std::vector<double> sorted = liveliness;
    std::sort(sorted.begin(), sorted.end());
    std::vector<bool> wild;
    for (const double one : liveliness) wild.push_back(one > 10 * sorted[kChunkRows / 2]);
    return wild;
  }
};

TEST_F(ComposeCompletion, RowsThatWereNotRecomputedAreMovedByTheBestLinearPrediction) {
  const std::vector<std::byte> stored = RowsAfter({"none", 0, false, 1});
  ComposeReport report;
  const std::vector<std::byte> moved = RowsAfter({"boundary", 0.3, true, 1}, &report);
  constexpr std::size_t kMeasured = 12;  // the first of every chunk
  ASSERT_EQ(report.recomputed, 3 * kMeasured);
  constexpr double kKeyShare = 12.0 / 22;
  std::uint32_t corrected = 0, alone = 0;
  for (std::uint32_t layer = 1; layer < engine_->profile().layer_count; ++layer) {
    for (std::uint32_t i = 0; i < 3; ++i) {
      const std::vector<bool> wild = Wild(chunks_[i], layer);
      for (const bool value : {false, true}) {
        const auto residual = [&](std::size_t row) {
          const auto at = static_cast<std::uint32_t>(i * kChunkRows + row);
          const auto a = Row(moved, layer, value, at), b = Row(stored, layer, value, at);
          Eigen::VectorXd difference(static_cast<Eigen::Index>(a.size()));
          for (std::size_t e = 0; e < a.size(); ++e) {
            difference[static_cast<Eigen::Index>(e)] = double{a[e]} - b[e];
          }
          return difference;
        };
        const Eigen::MatrixXd weights =
            Weights(Loadings(chunks_[i], 2 * layer + (value ? 1 : 0)), chunks_[i].rank, kMeasured);
        double error = 0, size = 0, all = 0;
        for (std::size_t row = kMeasured; row < kChunkRows; ++row) {
          Eigen::VectorXd wanted = Eigen::VectorXd::Zero(residual(0).size());
          for (std::size_t s = 0; s < kMeasured && !wild[row]; ++s) {
            wanted += (value ? 1 : kKeyShare) *
                      weights(static_cast<Eigen::Index>(row), static_cast<Eigen::Index>(s)) *
                      residual(s);
          }
          error += (residual(row) - wanted).squaredNorm();
          size += wanted.squaredNorm();
          all += residual(row).squaredNorm();
        }
        if (all < 1e-6 * size) {  // a guard: its rows, left out, would be predicted worse
          ++alone;
          continue;
        }
        ++corrected;
        EXPECT_LT(std::sqrt(error / size), 1e-3)
            << "layer " << layer << " chunk " << i << (value ? " values" : " keys");
      }
    }
  }
  EXPECT_EQ(corrected, report.corrected);
  EXPECT_EQ(alone, report.left_worse);
  EXPECT_GT(corrected, alone);
}

}  // namespace
}  // namespace kvcommons
