#include "daemon/quality.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "daemon/wire.h"

namespace kvcommons {
namespace {

constexpr Logger kLog("quality");

Status CheckRule(const std::string& rule) {
  if (rule.empty() || rule.size() > QualityGate::kMaxRuleBytes) {
    return OutOfRange("rule's length", rule.size(), 1, QualityGate::kMaxRuleBytes);
  }
  const auto is_good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  if (std::all_of(rule.begin(), rule.end(), is_good)) return Status();
  return InvalidArgument("rule has other characters than a-z, 0-9 and '-'");
}

Status CheckShare(const char* field, double value, double max) {
  if (value >= 0 && value <= max) return Status();  // and no NaN
  return InvalidArgument(std::string(field) + " is " + std::to_string(value) +
                         "; the limit is 0 to " + std::to_string(max));
}

}  // namespace

QualityGate::Answer QualityGate::AnswerOf(const Pair& pair) {
  Answer answer;
  answer.samples = static_cast<std::uint32_t>(pair.window.size());
  for (const Sample& sample : pair.window) {
    answer.mean_kl += sample.kl;
    answer.mean_top1 += sample.top1;
  }
  if (answer.samples > 0) {
    answer.mean_kl /= answer.samples;
    answer.mean_top1 /= answer.samples;
  }
  answer.enabled = pair.reason.empty();
  answer.reason = pair.reason;
  return answer;
}

Result<QualityGate::Answer> QualityGate::Report(const QualityKey& key, double kl, double top1) {
  KVC_FAIL_IF_ERROR(CheckRule(key.rule));
  KVC_FAIL_IF_ERROR(CheckShare("kl", kl, kMaxKl));
  KVC_FAIL_IF_ERROR(CheckShare("top1", top1, 1));
  MutexLock lock(mutex_);
  auto found = pairs_.find(key);
  if (found == pairs_.end()) {
    const auto first = pairs_.lower_bound({key.domain, {}, ""});
    std::size_t count = 0;
    for (auto at = first; at != pairs_.end() && at->first.domain == key.domain; ++at) ++count;
    if (count >= kMaxPairsPerDomain) {
      return Fail(Exhausted("the tenant reported " + std::to_string(count) +
                            " pairs of model and rule; the limit is " +
                            std::to_string(kMaxPairsPerDomain)));
    }
    found = pairs_.emplace(key, Pair()).first;
  }
  Pair& pair = found->second;
  if (!pair.reason.empty()) return AnswerOf(pair);
  pair.window.push_back({kl, top1});
  if (pair.window.size() > kWindow) pair.window.pop_front();
  Answer answer = AnswerOf(pair);
  if (answer.samples < kFewestSamples || answer.mean_kl <= max_mean_kl_) return answer;
  pair.reason = "mean KL of " + std::to_string(answer.samples) + " samples is " +
                std::to_string(answer.mean_kl) + "; the limit is " + std::to_string(max_mean_kl_) +
                " (canary_kl_max)";
  ++switched_off_;
  kLog.Warning("rule " + key.rule + " is switched off for model " + key.fingerprint.ToHex() + ": " +
               pair.reason);
  return AnswerOf(pair);
}

Result<QualityGate::Answer> QualityGate::Of(const QualityKey& key) const {
  KVC_FAIL_IF_ERROR(CheckRule(key.rule));
  MutexLock lock(mutex_);
  const auto found = pairs_.find(key);
  return found == pairs_.end() ? Answer() : AnswerOf(found->second);
}

Result<bool> QualityGate::Reset(const QualityKey& key) {
  KVC_FAIL_IF_ERROR(CheckRule(key.rule));
  MutexLock lock(mutex_);
  return pairs_.erase(key) > 0;
}

std::vector<QualityGate::Row> QualityGate::List(const DomainId& domain) const {
  std::vector<Row> rows;
  MutexLock lock(mutex_);
  for (auto at = pairs_.lower_bound({domain, {}, ""});
       at != pairs_.end() && at->first.domain == domain; ++at) {
    rows.push_back({at->first, AnswerOf(at->second)});
  }
  return rows;
}

std::vector<QualityGate::Total> QualityGate::Totals() const {
  std::map<std::pair<Fingerprint, std::string>, Total> totals;
  MutexLock lock(mutex_);
  for (const auto& [key, pair] : pairs_) {
    Total& total = totals[{key.fingerprint, key.rule}];
    total.fingerprint = key.fingerprint;
    total.rule = key.rule;
    for (const Sample& sample : pair.window) {
      total.mean_kl += sample.kl;
      total.mean_top1 += sample.top1;
    }
    total.samples += pair.window.size();
    total.disabled += pair.reason.empty() ? 0 : 1;
  }
  std::vector<Total> list;
  for (auto& [key, total] : totals) {
    if (total.samples > 0) {
      total.mean_kl /= static_cast<double>(total.samples);
      total.mean_top1 /= static_cast<double>(total.samples);
    }
    list.push_back(std::move(total));
  }
  return list;
}

std::uint64_t QualityGate::switched_off_count() const {
  MutexLock lock(mutex_);
  return switched_off_;
}

}  // namespace kvcommons
