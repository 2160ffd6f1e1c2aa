#include <gtest/gtest.h>

#include "align/select/rule.h"

namespace kvcommons {
namespace {

std::vector<Position> Boundary(std::span<const SelectChunk> chunks, double budget) {
  SelectRequest request;
  request.chunks = chunks;
  request.layer_count = 4;
  request.budget = budget;
  return (*MakeSelectRule("boundary"))->Select(request, {})->rows;
}

TEST(BoundaryRuleTest, TakesTheFirstRowsOfEveryChunkAlike) {
  const std::vector<SelectChunk> chunks{{10, 20}, {30, 40}};
  EXPECT_EQ(Boundary(chunks, 0.2), (std::vector<Position>{10, 11, 30, 31}));
}

TEST(BoundaryRuleTest, AnOddRowGoesToTheFirstChunk) {
  const std::vector<SelectChunk> chunks{{10, 20}, {30, 40}};
  EXPECT_EQ(Boundary(chunks, 0.25), (std::vector<Position>{10, 11, 12, 30, 31}));
}

TEST(BoundaryRuleTest, WhatAShortChunkDoesNotNeedGoesToTheOthers) {
  const std::vector<SelectChunk> chunks{{0, 1}, {5, 14}};
  EXPECT_EQ(Boundary(chunks, 0.5), (std::vector<Position>{0, 5, 6, 7, 8}));
}

}  // namespace
}  // namespace kvcommons
