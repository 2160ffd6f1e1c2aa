// `deviation` (CacheBlend: the rows whose values deviate most at the check layer), `deviation-k`
// (the same of keys, as LMCache has it) and `dhd` (KVShare's first stage: deviation of values
// weighted by the attention that a row receives). All three have every reused row run up to the
// check layer, and are charged for it.

#include "align/select/rows.h"
#include "align/select/rules.h"

namespace kvcommons {
namespace {

class DeviationRule final : public SelectRule {
 public:
  enum class Score { kValue, kKey, kAttendedValue };

  DeviationRule(std::string_view name, Score score) : name_(name), score_(score) {}
  std::string_view name() const override { return name_; }
  SelectNeeds Needs(std::uint32_t) const override {
    SelectNeeds needs = NeedsOfCheckLayer();
    needs.attention_received = needs.decode_stage = score_ == Score::kAttendedValue;
    return needs;
  }

  Result<Selection> Choose(const SelectRequest& request,
                           const SelectEvidence& evidence) const override {
    const std::size_t reused = request.reused_rows();
    std::vector<double> scores;
    if (score_ == Score::kAttendedValue) {
      KVC_FAIL_IF_ERROR(CheckEvidence("value_deviation_l1", evidence.value_deviation_l1, reused));
      KVC_FAIL_IF_ERROR(CheckEvidence("attention_received", evidence.attention_received, reused));
      for (std::size_t i = 0; i < reused; ++i) {
        scores.push_back(double{evidence.attention_received[i]} * evidence.value_deviation_l1[i]);
      }
    } else {
      const bool key = score_ == Score::kKey;
      const auto deviation = key ? evidence.key_deviation : evidence.value_deviation;
      KVC_FAIL_IF_ERROR(
          CheckEvidence(key ? "key_deviation" : "value_deviation", deviation, reused));
      scores.assign(deviation.begin(), deviation.end());
    }
    const Result<std::size_t> count = AffordableRows(request, name_, AtCheckLayer(request));
    if (!count) return Fail(count.error());
    return SelectionOf(request, LargestOf(scores, *count), AtCheckLayer(request));
  }

 private:
  const std::string_view name_;
  const Score score_;
};

}  // namespace

std::unique_ptr<SelectRule> MakeValueDeviationRule() {
  return std::make_unique<DeviationRule>("deviation", DeviationRule::Score::kValue);
}
std::unique_ptr<SelectRule> MakeKeyDeviationRule() {
  return std::make_unique<DeviationRule>("deviation-k", DeviationRule::Score::kKey);
}
std::unique_ptr<SelectRule> MakeDhdRule() {
  return std::make_unique<DeviationRule>("dhd", DeviationRule::Score::kAttendedValue);
}

}  // namespace kvcommons
