// `document` (document-aligned spans): whole chunks by the mean deviation of their keys, and of the
// next one the window that deviates most. Contiguous rows cost less where a pass goes run by run,
// and on a store that keeps in-context KV they were what kept answers independent of history.

#include <algorithm>
#include <numeric>

#include "align/select/rows.h"
#include "align/select/rules.h"

namespace kvcommons {
namespace {

class DocumentRule final : public SelectRule {
 public:
  std::string_view name() const override { return "document"; }
  SelectNeeds Needs(std::uint32_t) const override { return NeedsOfCheckLayer(); }

  Result<Selection> Choose(const SelectRequest& request,
                           const SelectEvidence& evidence) const override {
    KVC_FAIL_IF_ERROR(
        CheckEvidence("key_deviation", evidence.key_deviation, request.reused_rows()));
    const Result<std::size_t> affordable = AffordableRows(request, name(), AtCheckLayer(request));
    if (!affordable) return Fail(affordable.error());

    struct Ranked {
      std::size_t first;  // index of its first row among the reused rows
      std::size_t count;
      double mean;
    };
    std::vector<Ranked> chunks;
    std::size_t first = 0;
    for (const SelectChunk& chunk : request.chunks) {
      const auto count = static_cast<std::size_t>(chunk.end - chunk.begin);
      const auto rows = evidence.key_deviation.subspan(first, count);
      const double sum = std::accumulate(rows.begin(), rows.end(), 0.0);
      chunks.push_back({first, count, sum / static_cast<double>(count)});
      first += count;
    }
    std::stable_sort(chunks.begin(), chunks.end(),
                     [](const Ranked& a, const Ranked& b) { return a.mean > b.mean; });

    std::vector<std::size_t> indices;
    std::size_t left = *affordable;
    for (const Ranked& chunk : chunks) {
      if (left == 0) break;
      const std::size_t count = std::min(left, chunk.count);
      const std::size_t begin =
          chunk.first + BestWindow(evidence.key_deviation.subspan(chunk.first, chunk.count), count);
      for (std::size_t i = 0; i < count; ++i) indices.push_back(begin + i);
      if (count < chunk.count) break;
      left -= count;
    }
    std::sort(indices.begin(), indices.end());
    return SelectionOf(request, indices, AtCheckLayer(request));
  }

 private:
  // Where the `count` neighbours with the largest sum begin; the first such place.
  static std::size_t BestWindow(std::span<const float> values, std::size_t count) {
    double sum =
        std::accumulate(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count), 0.0);
    double best_sum = sum;
    std::size_t best = 0;
    for (std::size_t begin = 1; begin + count <= values.size(); ++begin) {
      sum += double{values[begin + count - 1]} - values[begin - 1];
      if (sum > best_sum) {
        best_sum = sum;
        best = begin;
      }
    }
    return best;
  }
};

}  // namespace

std::unique_ptr<SelectRule> MakeDocumentRule() { return std::make_unique<DocumentRule>(); }

}  // namespace kvcommons
