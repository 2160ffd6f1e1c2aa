#include "tests/replay/replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace kvcommons {
namespace {

using ::testing::HasSubstr;

// 1 ms a computed token and nothing else.
ReplayOptions Round() {
  ReplayOptions options;
  options.engine.costs = {1000, 0, 0, 0, 0, 0};
  options.engine.recompute = 0;
  options.load = 1;
  return options;
}

TEST(ReplayTest, ServedByArrivalTimesAreThoseOfAQueueByHand) {
  // Work 110, 10, 120 ms: 240 ms over 240 ms of arrivals, which keeps their times.
  Trace trace;
  trace.requests = {
      {0, 0, {{1, 100}}, 10}, {0, 30'000, {{1, 100}}, 10}, {0, 240'000, {{2, 100}}, 20}};
  const auto figures = Replay(trace, Round(), ReplayOrder::kArrival);
  ASSERT_TRUE(figures.has_value());
  // 110; 110 + 10 − 30; 120.
  EXPECT_NEAR(figures->mean_ms, (110 + 90 + 120) / 3.0, 1e-6);
  EXPECT_NEAR(figures->p50_ms, 110, 1e-6);
  EXPECT_NEAR(figures->max_ms, 120, 1e-6);
  EXPECT_NEAR(figures->hit_share, 100.0 / 340, 1e-9);
  EXPECT_NEAR(figures->service_ms, 80, 1e-9);
  EXPECT_EQ(figures->overtaken_ms, 0);
}

TEST(ReplayTest, TheCacheKeepsWhatWasUsedLastAndTenantsDoNotShareIt) {
  Trace trace;
  trace.requests = {{0, 0, {{1, 100}}, 1}, {0, 1, {{2, 100}}, 1}, {0, 2, {{1, 100}}, 1},
                    {0, 3, {{3, 100}}, 1}, {0, 4, {{1, 100}}, 1}, {0, 5, {{2, 100}}, 1}};
  ReplayOptions options = Round();
  options.engine.cache_tokens = 200;  // 1 is used again before 3 comes, so 2 goes
  EXPECT_NEAR(Replay(trace, options, ReplayOrder::kArrival)->hit_share, 200.0 / 606, 1e-9);
  options.engine.cache_tokens = 99;
  EXPECT_EQ(Replay(trace, options, ReplayOrder::kArrival)->hit_share, 0);
  trace.requests = {{0, 0, {{1, 100}}, 1}, {1, 1, {{1, 100}}, 1}};
  options.engine.cache_tokens = 1000;
  EXPECT_EQ(Replay(trace, options, ReplayOrder::kArrival)->hit_share, 0);
}

TEST(ReplayTest, ABlockOfAPrefixIsAHitOnlyBehindHits) {
  Trace trace;
  trace.requests = {{0, 0, {{1, 100}, {2, 100}}, 0}, {0, 1, {{3, 100}, {2, 100}}, 0}};
  EXPECT_NEAR(Replay(trace, Round(), ReplayOrder::kArrival)->hit_share, 0.25, 1e-9);
  trace.prefix = true;
  EXPECT_EQ(Replay(trace, Round(), ReplayOrder::kArrival)->hit_share, 0);
}

TEST(ReplayTest, HitRateAloneStarvesAndAHeadStartBoundsIt) {
  const auto trace = ZipfTrace({});
  ASSERT_TRUE(trace.has_value());
  ReplayOptions options;
  options.scheduler.head_start_us = 60'000'000;
  const auto by_arrival = Replay(*trace, options, ReplayOrder::kArrival);
  const auto by_hits = Replay(*trace, options, ReplayOrder::kHitRate);
  const auto aged = Replay(*trace, options, ReplayOrder::kAged);
  EXPECT_LT(aged->mean_ms, by_arrival->mean_ms);
  EXPECT_GT(by_hits->overtaken_ms, 120'000);
  EXPECT_LT(aged->overtaken_ms, 60'000);
  EXPECT_GT(by_hits->max_ms, 2 * aged->max_ms);
}

TEST(ReplayTest, WithoutAHeadStartAgedIsByArrival) {
  const auto trace = ZipfTrace({});
  ReplayOptions options;
  options.scheduler.head_start_us = 0;
  const auto by_arrival = Replay(*trace, options, ReplayOrder::kArrival);
  const auto aged = Replay(*trace, options, ReplayOrder::kAged);
  EXPECT_EQ(aged->mean_ms, by_arrival->mean_ms);
  EXPECT_EQ(aged->p99_ms, by_arrival->p99_ms);
}

TEST(ReplayTest, OptionsHaveLimits) {
  const auto trace = ZipfTrace({});
  const auto message = [&](auto change) {
    ReplayOptions options;
    change(options);
    return Replay(*trace, options, ReplayOrder::kArrival).error().message();
  };
  EXPECT_THAT(message([](auto& o) { o.load = 10.1; }), HasSubstr("load is 10.1"));
  EXPECT_THAT(message([](auto& o) { o.load = 0; }), HasSubstr("load is 0"));
  EXPECT_THAT(message([](auto& o) { o.engine.recompute = 1.1; }), HasSubstr("recompute is 1.1"));
  EXPECT_THAT(message([](auto& o) { o.scheduler.batch_requests = 0; }),
              HasSubstr("batch_requests is 0"));
  EXPECT_THAT(Replay({}, {}, ReplayOrder::kAged).error().message(), HasSubstr("has 0 requests"));
}

TEST(ZipfTraceTest, TheFirstDocumentIsDrawnAsOftenAsItsRankSays) {
  ZipfOptions options;
  options.requests = 20'000;
  options.documents = 3;
  options.documents_per_request = 1;
  options.skew = 1;
  std::vector<int> drawn(3, 0);
  const auto trace = ZipfTrace(options);
  for (const TraceRequest& request : trace->requests) ++drawn[request.contents[0].id];
  EXPECT_NEAR(drawn[0], 20'000 * 6.0 / 11, 300);  // 1, 1/2, 1/3
  EXPECT_NEAR(drawn[2], 20'000 * 2.0 / 11, 300);
  EXPECT_EQ(ZipfTrace(options)->requests[9999].arrival_us, trace->requests[9999].arrival_us);
}

TEST(ZipfTraceTest, OptionsHaveLimits) {
  const auto refused = [](auto change) {
    ZipfOptions options;
    options.requests = 1;
    change(options);
    const auto trace = ZipfTrace(options);
    return trace.has_value() ? std::string() : trace.error().message();
  };
  EXPECT_EQ(refused([](auto& o) { o.documents = o.documents_per_request = 64; }), "");
  EXPECT_THAT(refused([](auto& o) { o.documents_per_request = 65; }), HasSubstr("is 65"));
  EXPECT_THAT(refused([](auto& o) { o.documents = 4; }), HasSubstr("documents is 4"));
  EXPECT_THAT(refused([](auto& o) { o.requests = 0; }), HasSubstr("requests is 0"));
  EXPECT_THAT(refused([](auto& o) { o.tenants = 1025; }), HasSubstr("tenants is 1025"));
  EXPECT_THAT(refused([](auto& o) { o.skew = 4.1; }), HasSubstr("skew is 4.1"));
}

Result<Trace> Parse(const std::string& text, std::size_t requests = 10) {
  std::istringstream lines(text);
  return MooncakeTrace(lines, requests, 2);
}

TEST(MooncakeTraceTest, ALineIsARequestOfBlocksWhoseLastMayBeShort) {
  const auto trace = Parse(
      "{\"timestamp\": 3, \"input_length\": 1025, \"output_length\": 5, \"hash_ids\": [0, 7, 9]}\n"
      "{\"timestamp\": 4, \"input_length\": 512, \"output_length\": 5, \"hash_ids\": [0]}\n");
  ASSERT_TRUE(trace.has_value()) << trace.error().ToString();
  ASSERT_EQ(trace->requests.size(), 2U);
  EXPECT_TRUE(trace->prefix);
  EXPECT_EQ(trace->requests[0].arrival_us, 3000);
  EXPECT_EQ(trace->requests[0].tenant, 1U);
  EXPECT_EQ(trace->requests[0].contents[1].tokens, 512U);
  EXPECT_EQ(trace->requests[0].contents[2].tokens, 1U);
  EXPECT_EQ(trace->requests[1].tenant, 0U);
}

TEST(MooncakeTraceTest, WhatIsNoSuchLineIsRefusedByItsNumber) {
  const std::string good = "{\"timestamp\": 3, \"input_length\": 512, \"hash_ids\": [0]}\n";
  EXPECT_THAT(Parse(good + "{}\n").error().message(), HasSubstr("line 2: no object with"));
  EXPECT_THAT(Parse("nonsense").error().message(), HasSubstr("line 1: no object"));
  EXPECT_THAT(
      Parse("{\"timestamp\": 3, \"input_length\": 513, \"hash_ids\": [0]}").error().message(),
      HasSubstr("input_length is 513; the limit is 1 to 512"));
  EXPECT_THAT(Parse("{\"timestamp\": 3, \"input_length\": 5, \"hash_ids\": []}").error().message(),
              HasSubstr("hash_ids is 0"));
  EXPECT_THAT(
      Parse("{\"timestamp\": 3, \"input_length\": 5, \"hash_ids\": [-1]}").error().message(),
      HasSubstr("line 1: no object"));
  EXPECT_THAT(Parse(good + "{\"timestamp\": 2, \"input_length\": 512, \"hash_ids\": [0]}")
                  .error()
                  .message(),
              HasSubstr("line 2: timestamp is before"));
  EXPECT_THAT(Parse("").error().message(), HasSubstr("no requests"));
  EXPECT_EQ(Parse(good + "nonsense", 1)->requests.size(), 1U);
}

}  // namespace
}  // namespace kvcommons
