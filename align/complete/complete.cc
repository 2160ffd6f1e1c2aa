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
  if (input.columns < 1) return InvalidArgument("columns is 0; it must be at least 1");
  if (input.loadings.size() % input.rank != 0 ||
      input.residuals.size() != input.loadings.size() / input.rank * input.columns) {
    return InvalidArgument("loadings has " + std::to_string(input.loadings.size()) +
                           " numbers and residuals " + std::to_string(input.residuals.size()) +
                           "; rows of " + std::to_string(input.rank) + " and of " +
                           std::to_string(input.columns) + " do not match");
  }
  if (!(input.shrinkage >= 0) || !(input.residue >= 0)) {
    return InvalidArgument("shrinkage is " + std::to_string(input.shrinkage) + ", residue " +
                           std::to_string(input.residue) + "; both are 0 or more");
  }
  return Status();
}

}  // namespace

std::vector<std::uint8_t> WildRows(std::span<const float> loadings, std::uint32_t rank) {
  KVC_ASSERT(rank > 0 && loadings.size() % rank == 0);
  std::vector<double> variance(loadings.size() / rank, 0);
  for (std::size_t i = 0; i < loadings.size(); ++i) {
    variance[i / rank] += double{loadings[i]} * loadings[i];
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
  const Matrix u = Floats(input.loadings.data(), rows, rank).cast<double>();
  const Matrix r = Floats(input.residuals.data(), rows, columns).cast<double>();

  Matrix a = u.transpose() * u;  // [rank][rank]: the k×k form of U_S U_Sᵀ + σ I
  // A floor, so that rows fewer than the rank can be solved for, too.
  const double sigma =
      std::max(input.residue + input.shrinkage * a.trace() / static_cast<double>(rows), 1e-12);
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

void ShareKeys(std::span<float> gain, std::uint32_t rank, std::size_t measured_rows) {
  KVC_ASSERT(rank > 0 && gain.size() % (std::size_t{2} * rank) == 0);
  const auto rows = static_cast<float>(measured_rows);
  const std::size_t columns = gain.size() / rank;
  for (std::size_t i = 0; i < gain.size(); ++i) {
    if (i % columns < columns / 2) gain[i] *= rows / (rows + kKeyDoubtRows);
  }
}

}  // namespace kvcommons
