#include "align/complete/complete.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <string>

#include "base/assert.h"

namespace kvcommons {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Index = Eigen::Index;
using Floats =
    Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

constexpr std::uint32_t kMaxRank = 64;

Status Check(const CompletionInput& input) {
  if (input.rank < 1 || input.rank > kMaxRank) {
    return InvalidArgument("rank is " + std::to_string(input.rank) + "; the limit is 1 to " +
                           std::to_string(kMaxRank));
  }
  if (input.columns < 1 || input.stride < input.columns ||
      input.first_column > input.stride - input.columns) {
    return InvalidArgument("columns is " + std::to_string(input.columns) + " from " +
                           std::to_string(input.first_column) +
                           " on; it is at least 1 and within the stride of " +
                           std::to_string(input.stride));
  }
  if (input.loadings.size() % input.rank != 0 ||
      input.residuals.size() != input.loadings.size() / input.rank * input.stride) {
    return InvalidArgument("loadings has " + std::to_string(input.loadings.size()) +
                           " numbers and residuals " + std::to_string(input.residuals.size()) +
                           "; rows of " + std::to_string(input.rank) + " and of " +
                           std::to_string(input.stride) + " do not match");
  }
  if (!input.own_variance.empty() &&
      input.own_variance.size() != input.loadings.size() / input.rank) {
    return InvalidArgument("own_variance has " + std::to_string(input.own_variance.size()) +
                           " rows; " + std::to_string(input.loadings.size() / input.rank) +
                           " were measured");
  }
  if (!(input.shrinkage >= 0) || !(input.residue >= 0)) {
    return InvalidArgument("shrinkage is " + std::to_string(input.shrinkage) + ", residue " +
                           std::to_string(input.residue) + "; both are 0 or more");
  }
  return Status();
}

}  // namespace

std::vector<std::uint8_t> WildRows(std::span<const float> key_loadings,
                                   std::span<const float> value_loadings, std::uint32_t rank) {
  KVC_ASSERT(rank > 0 && key_loadings.size() % rank == 0 &&
             key_loadings.size() == value_loadings.size());
  std::vector<double> variance(key_loadings.size() / rank, 0);
  for (const std::span<const float> loadings : {key_loadings, value_loadings}) {
    for (std::size_t i = 0; i < loadings.size(); ++i) {
      variance[i / rank] += double{loadings[i]} * loadings[i];
    }
  }
  std::vector<std::uint8_t> wild(variance.size(), 0);
  if (variance.empty()) return wild;
  std::vector<double> sorted = variance;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  for (std::size_t row = 0; row < wild.size(); ++row) {
    wild[row] = variance[row] > kWildVariance * *middle ? 1 : 0;
  }
  return wild;
}

Result<Completion> CompleteResiduals(const CompletionInput& input) {
  KVC_FAIL_IF_ERROR(Check(input));
  const auto rows = static_cast<Index>(input.loadings.size() / input.rank);
  const auto rank = static_cast<Index>(input.rank);
  const auto columns = static_cast<Index>(input.columns);
  Completion completion;
  if (rows < static_cast<Index>(kMinMeasuredRows)) return completion;
  Matrix u = Floats(input.loadings.data(), rows, rank).cast<double>();
  Matrix r = Floats(input.residuals.data(), rows, input.stride)
                 .middleCols(input.first_column, columns)
                 .cast<double>();

  // A floor, so that rows fewer than the rank can be solved for, too.
  const double sigma = std::max(
      input.residue + input.shrinkage * u.squaredNorm() / static_cast<double>(rows), 1e-12);
  for (Index row = 0; row < static_cast<Index>(input.own_variance.size()); ++row) {
    const double own = input.own_variance[static_cast<std::size_t>(row)];
    const double root_weight = std::sqrt(sigma / (sigma + own));
    u.row(row) *= root_weight;
    r.row(row) *= root_weight;
  }
  Matrix a = u.transpose() * u;  // [rank][rank]: the k×k form of U_S U_Sᵀ + σ W⁻¹
  a.diagonal().array() += sigma;
  const Eigen::LLT<Matrix> solver(a);
  if (solver.info() != Eigen::Success) {
    return Fail(InvalidArgument("the loadings of the measured rows are not finite"));
  }
  const Matrix gain = solver.solve(u.transpose() * r);

  // Each row predicted from the others, without solving again: the error of a fit divided by what
  // the row does not explain of itself.
  const Matrix hat_rows = solver.solve(u.transpose());  // column i: a⁻¹ u_i
  double error = 0;
  const double all = r.squaredNorm();
  for (Index row = 0; row < rows; ++row) {
    const double leverage = u.row(row).dot(hat_rows.col(row));
    const double left = std::max(1 - leverage, 1e-9);
    error += (r.row(row) - u.row(row) * gain).squaredNorm() / (left * left);
  }
  if (!std::isfinite(all) || !std::isfinite(error)) {
    return Fail(InvalidArgument("a residual is not finite"));
  }
  completion.left_out_error = all > 0 ? error / all : 0;
  if (completion.left_out_error > 1) {
    completion.outcome = CompletionOutcome::kWorse;
    return completion;
  }
  completion.outcome = CompletionOutcome::kApplied;
  completion.gain.resize(static_cast<std::size_t>(rank * columns));
  for (Index k = 0; k < rank; ++k) {
    for (Index c = 0; c < columns; ++c) {
      completion.gain[static_cast<std::size_t>(k * columns + c)] = static_cast<float>(gain(k, c));
    }
  }
  return completion;
}

float KeyShare(std::size_t measured_rows) {
  const auto rows = static_cast<float>(measured_rows);
  return rows / (rows + kKeyDoubtRows);
}

}  // namespace kvcommons
