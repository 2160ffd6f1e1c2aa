#include "agents/rag/case_text.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace kvcommons {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Result<std::optional<CaseText>> Read(const std::string& line) {
  std::istringstream input(line);
  return CaseReader(input).Next();
}

std::string Refusal(const Json& json) {
  const auto read = Read(json.dump());
  return read ? "accepted" : read.error().message();
}

Json Small() { return {{"id", "q7"}, {"chunks", {"one", {{"doc", "two"}}}}, {"question", "Who?"}}; }

TEST(CaseReader, ReadsTextsNamedDocumentsAndAnswers) {
  Json json = Small();
  json["related"] = {"near"};
  json["answers"] = {"Ada", "A. L."};
  const auto read = Read(json.dump());
  ASSERT_TRUE(read && *read) << read.error().ToString();
  const CaseText& one = **read;
  EXPECT_EQ(one.id, "q7");
  ASSERT_EQ(one.chunks.size(), 2U);
  EXPECT_EQ(one.chunks[0].text, "one");
  EXPECT_EQ(one.chunks[1].document, "two");
  EXPECT_EQ(one.question, "Who?");
  EXPECT_THAT(one.related, ElementsAre("near"));
  EXPECT_THAT(one.answers, ElementsAre("Ada", "A. L."));
  json.erase("answers");
  json["answer"] = "Ada";
  EXPECT_THAT((*Read(json.dump()))->answers, ElementsAre("Ada"));
}

TEST(CaseReader, IdsAreTextNumbersOrTheLines) {
  Json numbered = Small(), unnamed = Small();
  numbered["id"] = 7;
  unnamed.erase("id");
  std::istringstream input(numbered.dump() + "\n\n  \n" + unnamed.dump() + "\n");
  CaseReader reader(input);
  EXPECT_EQ((*reader.Next())->id, "7");
  EXPECT_EQ((*reader.Next())->id, "4");
  EXPECT_FALSE(reader.Next()->has_value());
}

TEST(CaseReader, ASecondCaseOfOneIdIsRefused) {
  std::istringstream input(Small().dump() + "\n" + Small().dump());
  CaseReader reader(input);
  EXPECT_TRUE(reader.Next().has_value());
  EXPECT_EQ(reader.Next().error().message(), "line 2: there is a case q7 already; ids differ");
}

TEST(CaseReader, WhatIsNoCaseIsRefusedByLineOrIdAndField) {
  const auto changed = [](const char* field, const Json& value) {
    Json json = Small();
    json[field] = value;
    return Refusal(json);
  };
  EXPECT_THAT(Read("no json").error().message(), HasSubstr("line 1 is no {\"chunks\""));
  EXPECT_THAT(Refusal(Json::array()), HasSubstr("line 1 is no {\"chunks\""));
  EXPECT_THAT(changed("chunks", "text"), HasSubstr("line 1 is no {\"chunks\""));
  EXPECT_THAT(changed("question", 1), HasSubstr("line 1 is no {\"chunks\""));
  EXPECT_THAT(changed("id", Json::array()), HasSubstr("line 1: id is empty, or neither"));
  EXPECT_THAT(changed("id", ""), HasSubstr("line 1: id is empty"));
  EXPECT_EQ(changed("chunks", {"a", ""}),
            R"(case q7: chunks[1] is empty, or neither text nor {"doc": name})");
  EXPECT_THAT(changed("chunks", {"a", 1}), HasSubstr("chunks[1]"));
  EXPECT_THAT(changed("chunks", Json::array({{{"doc", 1}}})), HasSubstr("chunks[0]"));
  EXPECT_EQ(changed("question", ""), "case q7: the question is empty");
  EXPECT_EQ(changed("related", "near"), "case q7: related is no list");
  EXPECT_EQ(changed("related", {"a", ""}), "case q7: related[1] is empty or no text");
  EXPECT_EQ(changed("answers", {1}), "case q7: answers[0] is empty or no text");
  EXPECT_EQ(changed("answer", ""), "case q7: answer[0] is empty or no text");
}

TEST(CaseReader, LimitsAreRefusedOnePastThem) {
  const auto with = [](const char* field, std::size_t count) {
    Json json = Small();
    json[field] = std::vector<std::string>(count, "a");
    return Refusal(json);
  };
  EXPECT_EQ(with("chunks", kMaxCaseChunks), "accepted");
  EXPECT_EQ(with("chunks", kMaxCaseChunks + 1),
            "case q7: chunks has 257 entries; the limit is 1 to 256");
  EXPECT_EQ(with("chunks", 0), "case q7: chunks has 0 entries; the limit is 1 to 256");
  EXPECT_EQ(with("related", kMaxCaseRelated), "accepted");
  EXPECT_EQ(with("related", kMaxCaseRelated + 1),
            "case q7: related has 65 entries; the limit is 0 to 64");
}

}  // namespace
}  // namespace kvcommons
