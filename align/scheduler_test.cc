#include "align/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace kvcommons {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ContentKey KeyOf(std::uint64_t number) {
  ContentKey key;
  std::memcpy(key.bytes.data(), &number, sizeof number);
  return key;
}

RequestContent Content(std::uint64_t number, bool cached, std::uint32_t tokens = 100) {
  return {KeyOf(number), tokens, cached};
}

// A request that owns its contents.
struct Request {
  std::uint32_t tenant = 0;
  std::int64_t arrival_us = 0;
  std::vector<RequestContent> contents;
  std::uint32_t fresh_tokens = 0;
};

std::vector<WaitingRequest> Views(const std::vector<Request>& requests) {
  std::vector<WaitingRequest> views;
  for (const Request& request : requests) {
    views.push_back({request.tenant, request.arrival_us, request.contents, request.fresh_tokens});
  }
  return views;
}

std::vector<std::size_t> Batch(const std::vector<Request>& requests, std::uint32_t batch_requests,
                               std::int64_t head_start_us) {
  const auto batch = NextBatch({batch_requests, head_start_us}, Views(requests), std::nullopt);
  return (*batch)->requests;
}

TEST(SchedulerTest, RequestsThatShareContentsRunTogether) {
  const std::vector<Request> requests{{0, 0, {Content(1, false)}},
                                      {0, 1, {Content(2, false)}},
                                      {0, 2, {Content(1, false)}},
                                      {0, 3, {Content(2, false)}}};
  EXPECT_THAT(Batch(requests, 2, 1000), ElementsAre(0, 2));
  EXPECT_THAT(Batch(requests, 4, 1000), ElementsAre(0, 2, 1, 3));
}

TEST(SchedulerTest, AHitRateBuysThatShareOfTheHeadStart) {
  // 300 of 400 tokens are cached: 750 us of 1000.
  std::vector<Request> requests{{0, 0, {Content(1, false)}},
                                {0, 750, {Content(2, true, 300)}, 100}};
  EXPECT_THAT(Batch(requests, 2, 1000), ElementsAre(0, 1));  // a tie: the earlier arrival
  requests[1].arrival_us = 749;
  EXPECT_THAT(Batch(requests, 2, 1000), ElementsAre(1, 0));
}

TEST(SchedulerTest, WithoutAHeadStartTheOrderIsThatOfArrival) {
  const std::vector<Request> requests{
      {0, 5, {Content(1, true)}}, {0, 3, {Content(2, false)}}, {0, 3, {Content(3, true)}}};
  EXPECT_THAT(Batch(requests, 3, 0), ElementsAre(1, 2, 0));
}

TEST(SchedulerTest, ABatchIsOfOneTenantAndTenantsTakeTurns) {
  const std::vector<Request> requests{{7, 0, {Content(1, true)}},
                                      {3, 9, {Content(1, false)}},
                                      {7, 1, {Content(1, true)}},
                                      {5, 0, {Content(1, true)}}};
  const auto views = Views(requests);
  const auto after = [&](std::optional<std::uint32_t> last) {
    return (*NextBatch({8, 1000}, views, last))->tenant;
  };
  EXPECT_EQ(after(std::nullopt), 3U);
  EXPECT_EQ(after(3), 5U);
  EXPECT_EQ(after(5), 7U);
  EXPECT_EQ(after(7), 3U);
  EXPECT_EQ(after(4), 5U);
  EXPECT_THAT((*NextBatch({8, 1000}, views, 5))->requests, ElementsAre(0, 2));
}

TEST(SchedulerTest, AnotherTenantsBatchMakesNothingCachedHere) {
  // Tenant 1 runs content 1; for tenant 2 it is as far away as content 2.
  const std::vector<Request> requests{
      {1, 0, {Content(1, true)}}, {2, 0, {Content(2, false)}}, {2, 1, {Content(1, false)}}};
  EXPECT_THAT((*NextBatch({8, 1000}, Views(requests), 1))->requests, ElementsAre(1, 2));
}

// Random requests of two tenants, in order of arrival.
std::vector<Request> Load(std::mt19937_64& random, std::size_t count) {
  std::vector<Request> requests;
  std::int64_t now_us = 0;
  for (std::size_t i = 0; i < count; ++i) {
    now_us += static_cast<std::int64_t>(random() % 40);
    Request request{static_cast<std::uint32_t>(random() % 2), now_us, {}, 20};
    for (std::size_t c = random() % 5; c > 0; --c) {
      request.contents.push_back(Content(random() % 12, random() % 2 == 0));
    }
    requests.push_back(request);
  }
  return requests;
}

struct Start {
  std::size_t request;
  std::uint64_t slot;
  bool operator==(const Start&) const = default;
};

// One batch every `slot_us`, of what has arrived by then, until all have started.
std::vector<Start> Schedule(const std::vector<Request>& requests, const SchedulerOptions& options,
                            std::int64_t slot_us) {
  std::vector<Start> starts;
  std::vector<bool> started(requests.size(), false);
  std::optional<std::uint32_t> last;
  for (std::uint64_t slot = 0; starts.size() < requests.size(); ++slot) {
    std::vector<WaitingRequest> waiting;
    std::vector<std::size_t> of;
    const auto views = Views(requests);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (started[i] || requests[i].arrival_us > static_cast<std::int64_t>(slot) * slot_us)
        continue;
      waiting.push_back(views[i]);
      of.push_back(i);
    }
    const auto batch = NextBatch(options, waiting, last);
    if (!*batch) continue;
    last = (*batch)->tenant;
    for (const std::size_t index : (*batch)->requests) {
      started[of[index]] = true;
      starts.push_back({of[index], slot});
    }
  }
  return starts;
}

TEST(SchedulerTest, ATenantsOrderAndSlotsDoNotDependOnAnotherTenantsContents) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20; ++round) {
    const std::vector<Request> requests = Load(random, 120);
    std::vector<Request> changed = requests;
    for (Request& request : changed) {
      if (request.tenant == 0) continue;
      // Other contents, more of them, other hits, and some that tenant 0 has, too.
      request.contents.clear();
      for (std::size_t c = random() % 9; c > 0; --c) {
        request.contents.push_back(Content(random() % 12, random() % 4 != 0,
                                           static_cast<std::uint32_t>(1 + random() % 500)));
      }
    }
    const auto of = [&](std::uint32_t tenant, const std::vector<Request>& load) {
      std::vector<Start> starts;
      for (const Start& start : Schedule(load, {3, 400}, 60)) {
        if (load[start.request].tenant == tenant) starts.push_back(start);
      }
      return starts;
    };
    EXPECT_EQ(of(0, requests), of(0, changed));
    // The change is one that the order of the tenant itself shows.
    EXPECT_NE(of(1, requests), of(1, changed));
  }
}

TEST(SchedulerTest, NoRequestIsOvertakenByOneThatArrivedAHeadStartLater) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::int64_t furthest_us = 0;
  for (const std::int64_t head_start_us : {0, 1, 100, 700}) {
    const std::vector<Request> requests = Load(random, 300);
    const auto starts = Schedule(requests, {4, head_start_us}, 100);
    for (std::size_t late = 0; late < starts.size(); ++late) {
      for (std::size_t early = 0; early < late; ++early) {
        const Request& first = requests[starts[early].request];
        const Request& second = requests[starts[late].request];
        if (first.tenant != second.tenant) continue;
        const std::int64_t overtaken_us = first.arrival_us - second.arrival_us;
        EXPECT_LT(overtaken_us, std::max<std::int64_t>(head_start_us, 1));
        furthest_us = std::max(furthest_us, overtaken_us);
      }
    }
  }
  EXPECT_GT(furthest_us, 300);  // Hits do overtake.
}

TEST(SchedulerTest, EveryRequestStartsWithinTheTurnsThatTheContractStates) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::int64_t kHeadStartUs = 500, kSlotUs = 130;
  constexpr std::uint32_t kBatch = 4, kTenants = 2;
  const std::vector<Request> requests = Load(random, 400);
  const auto starts = Schedule(requests, {kBatch, kHeadStartUs}, kSlotUs);
  std::vector<std::uint64_t> slot_of(requests.size());
  for (const Start& start : starts) slot_of[start.request] = start.slot;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto first_slot =
        static_cast<std::uint64_t>((requests[i].arrival_us + kSlotUs - 1) / kSlotUs);
    std::uint64_t ahead = 0;
    for (std::size_t j = 0; j < requests.size(); ++j) {
      ahead += j != i && requests[j].tenant == requests[i].tenant && slot_of[j] >= first_slot &&
               requests[j].arrival_us < requests[i].arrival_us + kHeadStartUs;
    }
    EXPECT_LT(slot_of[i], first_slot + kTenants * (1 + ahead / kBatch)) << "request " << i;
  }
}

TEST(SchedulerTest, AColdRequestIsServedThoughHotOnesNeverStop) {
  std::vector<Request> requests{{0, 0, {Content(99, false)}}};
  for (std::int64_t i = 0; i < 300; ++i) requests.push_back({0, i * 10, {Content(1, true)}});
  // One a slot, and one hot request arrives every slot.
  const auto starts = Schedule(requests, {1, 500}, 10);
  const auto cold = std::find_if(starts.begin(), starts.end(),
                                 [](const Start& start) { return start.request == 0; });
  EXPECT_EQ(cold->slot, 50U);
}

TEST(SchedulerTest, OfNothingWaitingThereIsNoBatch) {
  EXPECT_FALSE((*NextBatch({8, 0}, {}, std::nullopt)).has_value());
}

TEST(SchedulerTest, OptionsHaveLimits) {
  const std::vector<Request> requests{{0, 0, {}, 1}};
  const auto views = Views(requests);
  const auto message = [&](const SchedulerOptions& options) {
    return NextBatch(options, views, std::nullopt).error().message();
  };
  EXPECT_TRUE(NextBatch({1, kMaxHeadStartUs}, views, std::nullopt).has_value());
  EXPECT_TRUE(NextBatch({kMaxBatchRequests, 0}, views, std::nullopt).has_value());
  EXPECT_THAT(message({0, 0}), HasSubstr("batch_requests is 0; the limit is 1 to 1024"));
  EXPECT_THAT(message({kMaxBatchRequests + 1, 0}), HasSubstr("batch_requests is 1025"));
  EXPECT_THAT(message({8, -1}), HasSubstr("head_start_us is -1"));
  EXPECT_THAT(message({8, kMaxHeadStartUs + 1}), HasSubstr("head_start_us is 3600000001"));
}

TEST(SchedulerTest, RequestsHaveLimits) {
  const auto refused = [](const std::vector<Request>& requests) {
    const auto batch = NextBatch({8, 1000}, Views(requests), std::nullopt);
    return batch.has_value() ? std::string() : batch.error().message();
  };
  const auto contents = [](std::size_t count) {
    return std::vector<RequestContent>(count, Content(1, false));
  };
  EXPECT_THAT(refused({{0, 0, contents(kMaxRequestContents)}}), IsEmpty());
  EXPECT_THAT(refused({{0, 0, contents(kMaxRequestContents + 1)}}),
              HasSubstr("waiting[0].contents.size() is 4097"));
  EXPECT_THAT(refused({{0, 0, {}, 0}}), HasSubstr("waiting[0]'s tokens is 0"));
  EXPECT_THAT(refused({{0, 0, {}, 1 << 24}}), IsEmpty());
  EXPECT_THAT(refused({{0, 0, {}, (1 << 24) + 1}}), HasSubstr("tokens is 16777217"));
  EXPECT_THAT(refused({{0, -1, {}, 1}}), HasSubstr("waiting[0].arrival_us is -1"));
  std::vector<Request> many(kMaxWaitingRequests, Request{0, 0, {}, 1});
  EXPECT_THAT(refused(many), IsEmpty());
  many.push_back(many.back());
  EXPECT_THAT(refused(many), HasSubstr("waiting.size() is 65537"));
  EXPECT_THAT(refused(std::vector<Request>(1025, {0, 0, contents(kMaxRequestContents)})),
              HasSubstr("contents of all requests is 4198400"));
}

TEST(SchedulerTest, TheLargestRequestAndHeadStartDoNotOverflow) {
  const std::vector<Request> requests{{0, kMaxHeadStartUs, {Content(1, true, 1 << 24)}},
                                      {0, 1, {Content(2, false, 1 << 24)}}};
  EXPECT_THAT(Batch(requests, 2, kMaxHeadStartUs), ElementsAre(0, 1));
}

}  // namespace
}  // namespace kvcommons
