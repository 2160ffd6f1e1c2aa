#include "agents/rag/cases.h"

#include <gtest/gtest.h>

#include <set>

#include "agents/rag/neutral_text.h"

namespace kvcommons {
namespace {

TEST(AnswerF1, IsTheHarmonicMeanOfPrecisionAndRecallOverWords) {
  EXPECT_DOUBLE_EQ(AnswerF1("The Hague.", {"the hague"}), 1);
  EXPECT_DOUBLE_EQ(AnswerF1("It was born in Lund", {"Lund"}), 2 * (1.0 / 5) / (1.0 / 5 + 1));
  EXPECT_DOUBLE_EQ(AnswerF1("Lund", {"Malmo", "Lund, Sweden"}), 2 * 0.5 / 1.5);
  EXPECT_DOUBLE_EQ(AnswerF1("no no", {"no"}), 2 * 0.5 / 1.5) << "a word counts once";
  EXPECT_DOUBLE_EQ(AnswerF1("", {"Lund"}), 0);
  EXPECT_DOUBLE_EQ(AnswerF1("Lund", {}), 0);
}

TEST(AnswerContains, LooksForWholeWordsInOrder) {
  EXPECT_TRUE(AnswerContains("She was born in New York City.", {"new york"}));
  EXPECT_FALSE(AnswerContains("a newyorker", {"new york"}));
  EXPECT_FALSE(AnswerContains("york new", {"new york"}));
  EXPECT_FALSE(AnswerContains("anything", {"", "the"}));
}

TEST(NeutralText, IsTwentyFourDifferentPassagesOfAboutAHundredWords) {
  std::set<std::string_view> different;
  for (const std::string_view passage : NeutralPassages()) {
    different.insert(passage);
    EXPECT_GT(passage.size(), 350U);
    EXPECT_LT(passage.size(), 800U);
  }
  EXPECT_EQ(different.size(), 24U);
}

}  // namespace
}  // namespace kvcommons
