// `none`, `all` and `random`: what every other rule is measured against. `random` is the coin that
// a selector has to beat at equal charged budget (§1.7, gate 6).

#include <numeric>
#include <random>
#include <utility>

#include "align/select/rows.h"
#include "align/select/rules.h"

namespace kvcommons {
namespace {

class NoneRule final : public SelectRule {
 public:
  std::string_view name() const override { return "none"; }
  SelectNeeds Needs(std::uint32_t) const override { return {}; }
  Result<Selection> Choose(const SelectRequest&, const SelectEvidence&) const override {
    return Selection();
  }
};

// Whatever the budget: the reference that composition must equal full prefill by.
class AllRule final : public SelectRule {
 public:
  std::string_view name() const override { return "all"; }
  SelectNeeds Needs(std::uint32_t) const override { return {}; }
  Result<Selection> Choose(const SelectRequest& request, const SelectEvidence&) const override {
    std::vector<std::size_t> indices(request.reused_rows());
    std::iota(indices.begin(), indices.end(), std::size_t{0});
    return SelectionOf(request, indices, {});
  }
};

class RandomRule final : public SelectRule {
 public:
  std::string_view name() const override { return "random"; }
  SelectNeeds Needs(std::uint32_t) const override { return {}; }
  Result<Selection> Choose(const SelectRequest& request, const SelectEvidence&) const override {
    const Result<std::size_t> count = AffordableRows(request, name(), {});
    if (!count) return Fail(count.error());
    // The engine's raw numbers as scores: a distribution of the standard library would give other
    // rows with another library.
    std::mt19937_64 random(request.seed);
    std::vector<double> scores(request.reused_rows());
    for (double& score : scores) score = static_cast<double>(random() >> 11);
    return SelectionOf(request, LargestOf(scores, *count), {});
  }
};

}  // namespace

std::unique_ptr<SelectRule> MakeNoneRule() { return std::make_unique<NoneRule>(); }
std::unique_ptr<SelectRule> MakeAllRule() { return std::make_unique<AllRule>(); }
std::unique_ptr<SelectRule> MakeRandomRule() { return std::make_unique<RandomRule>(); }

}  // namespace kvcommons
