// QualityGate: which selection rules may go on, by how far they were from full prefill.
//
// Workers run full prefill beside an approximate rule on a share of their requests and report the
// distance. A rule whose window strays too far is switched off for that tenant and model, until a
// restart or a reset. One tenant's reports never switch off another's rule (I7). Thread safety: any
// thread.

#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "base/status.h"

namespace kvcommons {

struct QualityKey {
  DomainId domain;
  Fingerprint fingerprint;
  std::string rule;  // 1 to 64 of a-z 0-9 -

  friend bool operator<(const QualityKey& a, const QualityKey& b) {
    return std::tie(a.domain, a.fingerprint, a.rule) < std::tie(b.domain, b.fingerprint, b.rule);
  }
};

class QualityGate {
 public:
  static constexpr std::size_t kMaxRuleBytes = 64;
  static constexpr std::size_t kMaxPairsPerDomain = 256;  // of model and rule
  static constexpr std::uint32_t kWindow = 64;
  static constexpr std::uint32_t kFewestSamples = 16;  // no verdict on fewer
  static constexpr double kMaxKl = 1e6;

  struct Answer {
    std::uint32_t samples = 0;
    double mean_kl = 0, mean_top1 = 0;
    bool enabled = true;
    std::string reason;  // why not
  };
  struct Row {
    QualityKey key;
    Answer answer;
  };
  // Of all tenants together: what /metrics shows.
  struct Total {
    Fingerprint fingerprint;
    std::string rule;
    std::uint64_t samples = 0;
    double mean_kl = 0, mean_top1 = 0;
    std::uint64_t disabled = 0;  // tenants for which it is off
  };

  explicit QualityGate(double max_mean_kl) : max_mean_kl_(max_mean_kl) {}

  // A pair that is off stays as it was. kExhausted: the domain has too many pairs.
  Result<Answer> Report(const QualityKey& key, double kl, double top1);
  // A pair that nobody reported is enabled.
  Result<Answer> Of(const QualityKey& key) const;
  // Forgets what was reported; false: nothing was.
  Result<bool> Reset(const QualityKey& key);
  std::vector<Row> List(const DomainId& domain) const;
  std::vector<Total> Totals() const;
  std::uint64_t switched_off_count() const;

 private:
  struct Sample {
    double kl = 0, top1 = 0;
  };
  struct Pair {
    std::deque<Sample> window;
    std::string reason;  // empty: enabled
  };

  static Answer AnswerOf(const Pair& pair);

  const double max_mean_kl_;
  mutable Mutex mutex_;
  std::map<QualityKey, Pair> pairs_ GUARDED_BY(mutex_);
  std::uint64_t switched_off_ GUARDED_BY(mutex_) = 0;
};

}  // namespace kvcommons
