#include "align/complete/loadings.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "base/assert.h"

namespace kvcommons {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Index = Eigen::Index;

Status Check(const PrefaceRows& rows) {
  if (rows.preface_count < 2 || rows.preface_count > kMaxPrefaces) {
    return InvalidArgument("preface_count is " + std::to_string(rows.preface_count) +
                           "; the limit is 2 to " + std::to_string(kMaxPrefaces));
  }
  if (rows.row_count < 1 || rows.row_count > kMaxLoadingsRows) {
    return InvalidArgument("row_count is " + std::to_string(rows.row_count) +
                           "; the limit is 1 to " + std::to_string(kMaxLoadingsRows));
  }
  const std::size_t wanted = std::size_t{rows.preface_count} * rows.row_count * rows.row_elements;
  if (rows.row_elements < 1 || rows.keys.size() != wanted || rows.values.size() != wanted) {
    return InvalidArgument("keys and values have " + std::to_string(rows.keys.size()) + " and " +
                           std::to_string(rows.values.size()) + " numbers; " +
                           std::to_string(wanted) + " are needed, and at least 1 a row");
  }
  const auto is_finite = [](float x) { return std::isfinite(x); };
  if (!std::all_of(rows.keys.begin(), rows.keys.end(), is_finite) ||
      !std::all_of(rows.values.begin(), rows.values.end(), is_finite)) {
    return InvalidArgument("a key or a value is not finite");
  }
  return Status();
}

// M Mᵀ ÷ columns · D/(D−1) of one of K and V: deviations from the mean over D prefaces, divided by
// their root mean square over the chunk, a row's side by side. Multiplied in fp32: what is learned
// from is no more exact than that.
Matrix CovarianceOf(const PrefaceRows& rows, std::span<const float> planes) {
  using Plane = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto prefaces = static_cast<Index>(rows.preface_count);
  const auto count = static_cast<Index>(rows.row_count);
  const auto elements = static_cast<Index>(rows.row_elements);
  const auto plane = [&](Index i) {
    return Eigen::Map<const Plane>(planes.data() + i * count * elements, count, elements);
  };
  Plane mean = Plane::Zero(count, elements);
  for (Index i = 0; i < prefaces; ++i) mean += plane(i);
  mean /= static_cast<float>(prefaces);
  Plane sum = Plane::Zero(count, count);
  double squares = 0;
  for (Index i = 0; i < prefaces; ++i) {
    const Plane deviation = plane(i) - mean;
    squares += static_cast<double>(deviation.squaredNorm());
    sum.selfadjointView<Eigen::Lower>().rankUpdate(deviation);
  }
  Matrix covariance = Matrix::Zero(count, count);
  if (squares > 0) {
    const auto d = static_cast<double>(prefaces);
    covariance = sum.cast<double>() * (static_cast<double>(count) / squares * d / (d - 1));
  }
  covariance.triangularView<Eigen::StrictlyUpper>() = covariance.transpose();
  return covariance;
}

struct Eigenpairs {
  Eigen::VectorXd values;  // the largest first
  Matrix vectors;          // a column each
};

// The `count` largest eigenpairs of a positive semidefinite matrix: all of them for few rows, by
// subspace iteration for more, where the others would cost ten times as much.
Result<Eigenpairs> LargestEigenpairs(const Matrix& matrix, Index count) {
  constexpr Index kSolveWholeMax = 64;
  constexpr Index kSpare = 8;  // extra directions, which make the wanted ones converge fast
  constexpr int kMaxSteps = 60;
  constexpr double kConverged = 1e-7;  // of the trace
  const Index rows = matrix.rows();
  if (rows <= std::max(kSolveWholeMax, count + kSpare)) {
    const Eigen::SelfAdjointEigenSolver<Matrix> solver(matrix);  // ascending
    if (solver.info() != Eigen::Success) return Fail(Internal("eigenvalues did not converge"));
    return Eigenpairs{solver.eigenvalues().reverse().head(count),
                      solver.eigenvectors().rowwise().reverse().leftCols(count)};
  }
  std::mt19937_64 random(1);  // Raw numbers: the same on every machine.
  Matrix basis(rows, count + kSpare);
  for (Index i = 0; i < basis.size(); ++i) {
    basis.data()[i] = static_cast<double>(random() >> 11) * 0x1p-52 - 1;
  }
  Eigenpairs pairs;
  Eigen::VectorXd before = Eigen::VectorXd::Zero(count);
  for (int step = 0; step < kMaxSteps; ++step) {
    const Matrix image = matrix * basis;
    const Eigen::HouseholderQR<Matrix> qr(image);
    basis = qr.householderQ() * Matrix::Identity(rows, count + kSpare);
    const Eigen::SelfAdjointEigenSolver<Matrix> inner(basis.transpose() * (matrix * basis));
    if (inner.info() != Eigen::Success) return Fail(Internal("eigenvalues did not converge"));
    basis = (basis * inner.eigenvectors().rowwise().reverse()).eval();
    pairs.values = inner.eigenvalues().reverse().head(count);
    if ((pairs.values - before).cwiseAbs().maxCoeff() <= kConverged * matrix.trace()) break;
    before = pairs.values;
  }
  pairs.vectors = basis.leftCols(count);
  return pairs;
}

// The `rank` largest factors of a covariance, and the mean of what they leave.
Result<PlaneLoadings> Factor(const Matrix& covariance, std::uint32_t wanted_rank) {
  PlaneLoadings loadings;
  loadings.rank = wanted_rank;
  const Index count = covariance.rows();
  const auto rank = static_cast<Index>(loadings.rank);
  const Result<Eigenpairs> pairs = LargestEigenpairs(covariance, rank);
  if (!pairs) return Fail(pairs.error());
  loadings.u.resize(static_cast<std::size_t>(count * rank));
  double kept = 0;
  for (Index k = 0; k < rank; ++k) {
    const double value = std::max(0.0, pairs->values[k]);
    kept += value;
    // A vector's sign is free: its largest element is positive, so that equal input gives equal
    // bytes whatever the solver.
    const auto vector = pairs->vectors.col(k);
    Index largest = 0;
    vector.cwiseAbs().maxCoeff(&largest);
    const double scale = std::sqrt(value) * (vector[largest] < 0 ? -1 : 1);
    for (Index row = 0; row < count; ++row) {
      loadings.u[static_cast<std::size_t>(row * rank + k)] =
          static_cast<float>(vector[row] * scale);
    }
  }
  const double rest = covariance.trace() - kept;
  loadings.residue = static_cast<float>(std::max(rest / static_cast<double>(count), 1e-9));
  return loadings;
}

}  // namespace

std::vector<double> FirstRowVariances(std::span<const float> loadings, std::uint32_t rank,
                                      std::size_t rows, double residue) {
  KVC_ASSERT(loadings.size() == rows * rank);
  std::vector<double> variances;
  double doubt = kFirstRowDoubt;
  for (std::size_t row = 0; row < rows; ++row, doubt *= kFirstRowDecay) {
    const auto u = loadings.subspan(row * rank, rank);
    variances.push_back(doubt * (std::inner_product(u.begin(), u.end(), u.begin(), 0.0) + residue));
  }
  return variances;
}

Result<LayerLoadings> LearnLoadings(const PrefaceRows& rows) {
  KVC_FAIL_IF_ERROR(Check(rows));
  const std::uint32_t rank = std::min(kLoadingsRank, rows.row_count);
  auto keys = Factor(CovarianceOf(rows, rows.keys), rank);
  if (!keys) return Fail(keys.error());
  auto values = Factor(CovarianceOf(rows, rows.values), rank);
  if (!values) return Fail(values.error());
  return LayerLoadings{std::move(*keys), std::move(*values)};
}

Result<PlaneLoadings> MeanLoadings(std::span<const LayerLoadings> layers) {
  KVC_ASSERT(!layers.empty());
  const auto counted = layers.subspan(layers.size() / 5);
  const std::uint32_t rank = layers[0].keys.rank;
  const auto rows = static_cast<Index>(layers[0].keys.u.size() / rank);
  using Floats =
      Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
  Matrix covariance = Matrix::Zero(rows, rows);
  double residue = 0;
  for (const LayerLoadings& layer : counted) {
    for (const PlaneLoadings* plane : {&layer.keys, &layer.values}) {
      KVC_ASSERT(plane->rank == rank && plane->u.size() == layers[0].keys.u.size());
      const Matrix u = Floats(plane->u.data(), rows, rank).cast<double>();
      covariance.selfadjointView<Eigen::Lower>().rankUpdate(u);
      residue += double{plane->residue};
    }
  }
  const auto planes = 2 * static_cast<double>(counted.size());
  covariance /= planes;
  covariance.triangularView<Eigen::StrictlyUpper>() = covariance.transpose();
  Result<PlaneLoadings> mean = Factor(covariance, rank);
  if (mean) mean->residue += static_cast<float>(residue / planes);
  return mean;
}

}  // namespace kvcommons
