// `query` (ProphetKV: the rows that the question attends to, mean over all layers) and
// `query-anchored` (QCFuse: over three middle layers, the question conditioned on each chunk's
// anchor digest instead of all rows). They differ in the evidence they ask for; the choice is the
// same. The selection is the question's own: it must not be kept for another one.

#include "align/select/rows.h"
#include "align/select/rules.h"

namespace kvcommons {
namespace {

class QueryRule final : public SelectRule {
 public:
  QueryRule(std::string_view name, bool anchored) : name_(name), anchored_(anchored) {}
  std::string_view name() const override { return name_; }
  SelectNeeds Needs(std::uint32_t layer_count) const override {
    SelectNeeds needs;
    needs.question_layers = anchored_ ? MiddleLayers(layer_count) : AllLayers(layer_count);
    needs.anchored_question = anchored_;
    return needs;
  }

  Result<Selection> Choose(const SelectRequest& request,
                           const SelectEvidence& evidence) const override {
    auto attention = MeanQuestionAttention(request, evidence, Needs(request.layer_count));
    if (!attention) return Fail(attention.error());
    const Result<std::size_t> count = AffordableRows(request, name_, AtQuestion(request));
    if (!count) return Fail(count.error());
    return SelectionOf(request, LargestOf(*attention, *count), AtQuestion(request));
  }

 private:
  const std::string_view name_;
  const bool anchored_;
};

}  // namespace

std::unique_ptr<SelectRule> MakeQueryRule() { return std::make_unique<QueryRule>("query", false); }
std::unique_ptr<SelectRule> MakeAnchoredQueryRule() {
  return std::make_unique<QueryRule>("query-anchored", true);
}

}  // namespace kvcommons
