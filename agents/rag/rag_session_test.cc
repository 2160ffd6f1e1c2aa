#include "agents/rag/rag_session.h"

#include <gtest/gtest.h>

namespace kvcommons {
namespace {

TEST(QualityName, TellsARuleWithCompletionFromTheRuleAlone) {
  EXPECT_EQ(QualityName("design", true), "design-completion");
  EXPECT_EQ(QualityName("design", false), "design");
}

}  // namespace
}  // namespace kvcommons
