#include "daemon/team_wire.h"

#include <cstring>
#include <utility>

#include "daemon/wire.h"

namespace kvcommons {
namespace {

kj::StringPtr Ptr(const std::string& text) { return {text.c_str(), text.size()}; }

bool IsUtf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80           ? 1
                               : (lead >> 5) == 0x06 ? 2
                               : (lead >> 4) == 0x0E ? 3
                               : (lead >> 3) == 0x1E ? 4
                                                     : 0;
    if (length == 0 || length > text.size() - i) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) >> 6) != 0x02) return false;
    }
    i += length;
  }
  return true;
}

std::string Numbered(const char* field, std::size_t i) {
  return std::string(field) + "[" + std::to_string(i) + "]";
}

}  // namespace

Result<std::string> ReadTeamName(std::string_view field, capnp::Text::Reader text) {
  if (text.size() >= 1 && text.size() <= MeanSnapshot::kMaxNameBytes) {
    std::string name(text.begin(), text.size());
    // Names are listed as JSON.
    if (IsUtf8(name)) return name;
    return Fail(InvalidArgument(std::string(field) + " is no UTF-8"));
  }
  return Fail(
      OutOfRange(std::string(field) + "'s length", text.size(), 1, MeanSnapshot::kMaxNameBytes));
}

Result<TeamOptions> ReadTeamOptions(rpc::TeamOptions::Reader reader, const ModelProfile& profile) {
  TeamOptions options;
  auto lead_in =
      ReadTokens("leadIn", reader.getLeadIn(), 1, TeamOptions::kMaxLeadInTokens, profile);
  if (!lead_in) return Fail(lead_in.error());
  options.lead_in = std::move(*lead_in);
  options.least_deposits = reader.getLeastDeposits();
  if (options.least_deposits < 1 || options.least_deposits > TeamOptions::kMaxLeastDeposits) {
    return Fail(
        OutOfRange("leastDeposits", options.least_deposits, 1, TeamOptions::kMaxLeastDeposits));
  }
  options.keeps_anchors = reader.getKeepAnchors();
  return options;
}

Result<AgentTemplatePtr> ReadAndPutTemplate(rpc::TeamTemplate::Reader reader,
                                            const ModelProfile& profile, Team& team) {
  auto agent = ReadTeamName("agent", reader.getAgent());
  if (!agent) return Fail(agent.error());
  if (reader.getSlots().size() > PromptTemplate::kMaxSlots) {
    return Fail(
        OutOfRange("slots' length", reader.getSlots().size(), 1, PromptTemplate::kMaxSlots));
  }
  std::vector<std::string> slots;
  for (const auto slot : reader.getSlots()) {
    auto name = ReadTeamName(Numbered("slots", slots.size()), slot);
    if (!name) return Fail(name.error());
    slots.push_back(std::move(*name));
  }
  if (reader.getSegments().size() != slots.size() + 1) {
    return Fail(OutOfRange("segments' length", reader.getSegments().size(), slots.size() + 1,
                           slots.size() + 1));
  }
  std::vector<TokenList> segments;
  for (const auto segment : reader.getSegments()) {
    auto tokens = ReadTokens(Numbered("segments", segments.size()), segment, 1,
                             profile.context_tokens, profile);
    if (!tokens) return Fail(tokens.error());
    segments.push_back(std::move(*tokens));
  }
  return team.Put(std::move(*agent), std::move(segments), std::move(slots), profile.context_tokens);
}

Status NoSuchVersion(const ReaderKey& version) {
  return NotFound("version is " + version.ToHex() +
                  "; the team has no such template: put it again");
}

Result<TeamPlanRequest> ReadTeamPlanRequest(rpc::TeamPlanRequest::Reader reader,
                                            const ModelProfile& profile, Team& team,
                                            const TeamOptions& options) {
  TeamPlanRequest request;
  const auto version = ReadHash<ReaderKey>(reader.getVersion());
  request.shape = team.Find(version);
  if (request.shape == nullptr) return Fail(NoSuchVersion(version));
  if (reader.getContents().size() > PromptTemplate::kMaxSlots) {
    return Fail(
        OutOfRange("contents' length", reader.getContents().size(), 1, PromptTemplate::kMaxSlots));
  }
  for (const auto content : reader.getContents()) {
    TeamContentRef& ref = request.contents.emplace_back();
    auto tokens = ReadTokens(Numbered("contents", request.contents.size() - 1) + ".tokens",
                             content.getTokens(), 0, profile.context_tokens, profile);
    if (!tokens) return Fail(tokens.error());
    ref.tokens = std::move(*tokens);
    ref.is_answer = content.hasAnswer();
    ref.kind = ref.is_answer ? team.KindOfAnswers() : team.KindOfTexts(options.lead_in);
    ref.content =
        ref.is_answer ? ReadHash<ContentKey>(content.getAnswer()) : team.KeyOfText(ref.tokens);
  }
  auto prompt = FillTemplate(*request.shape, request.contents, profile.context_tokens);
  if (!prompt) return Fail(prompt.error());
  request.least_deposits = options.least_deposits;
  if (reader.getCorrection() > static_cast<std::uint8_t>(TeamCorrection::kTrustedMean)) {
    return Fail(OutOfRange("correction", reader.getCorrection(), 0, 3));
  }
  request.correction = static_cast<TeamCorrection>(reader.getCorrection());
  if (request.correction == TeamCorrection::kAnchors && !options.keeps_anchors) {
    return Fail(InvalidArgument(
        "correction is 2 (anchors); the team was opened without keepAnchors and has none"));
  }
  request.correct_text = reader.getCorrectText();
  if (request.correct_text && request.correction == TeamCorrection::kAnchors) {
    return Fail(
        InvalidArgument("correctText is set with correction 2 (anchors); it takes 0, 1 or 3"));
  }
  request.gamma = reader.getGamma();
  if (!(request.gamma >= 0 && request.gamma <= 1)) {
    return Fail(
        InvalidArgument("gamma is " + std::to_string(request.gamma) + "; the limit is 0 to 1"));
  }
  if (reader.getFirstRows() > TeamPlanRequest::kMaxFirstRows) {
    return Fail(OutOfRange("firstRows", reader.getFirstRows(), 0, TeamPlanRequest::kMaxFirstRows));
  }
  request.first_rows = reader.getFirstRows();
  request.exact = reader.getExact();
  if (reader.getStoreTokens() > prompt->size()) {
    return Fail(OutOfRange("storeTokens", reader.getStoreTokens(), 0, prompt->size()));
  }
  request.prompt.tokens = std::move(*prompt);
  request.prompt.store_tokens = static_cast<Position>(reader.getStoreTokens());
  request.prompt.edit.min_run = reader.getMinRun();
  if (reader.hasCosts()) {
    KVC_FAIL_IF_ERROR(ReadCosts(reader.getCosts(), request.prompt.costs));
  }
  return request;
}

void WriteTeamPlan(const TeamPlan& plan, rpc::TeamPlanInfo::Builder builder) {
  builder.setReuses(plan.reuses);
  builder.setReason(std::string(plan.reason).c_str());
  builder.setEpoch(plan.epoch);
  builder.setGateUs(plan.gate_us);
  builder.setWeightsUs(plan.weights_us);
  builder.setBlendUs(plan.blend_us);
  const auto write = [](const std::vector<TeamSlotPlan>& parts, auto list) {
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setReason(std::string(parts[i].reason).c_str());
      list[i].setCoveredRows(parts[i].covered_rows);
      list[i].setDeposits(parts[i].deposits);
      list[i].setWanted(parts[i].is_wanted);
      list[i].setEntropyBits(parts[i].entropy_bits);
    }
  };
  write(plan.slots, builder.initSlots(static_cast<unsigned>(plan.slots.size())));
  if (plan.texts.empty()) return;
  write(plan.texts, builder.initTexts(static_cast<unsigned>(plan.texts.size())));
}

void WriteTeamStatus(const std::vector<TeamPool::Row>& means, const TeamPool::Totals& totals,
                     const Team& team, rpc::TeamStatus::Builder builder) {
  auto list = builder.initMeans(static_cast<unsigned>(means.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    const MeanSnapshot& mean = *means[i].mean;
    list[i].setAgent(Ptr(mean.agent));
    list[i].setSlot(Ptr(mean.slot));
    list[i].setOfAnswers(mean.of == MeanOf::kAnswers);
    list[i].setOfPrompt(mean.of == MeanOf::kPrompt);
    list[i].setDeposits(mean.deposits);
    list[i].setOfCorrected(mean.of_corrected);
    list[i].setRows(mean.rows());
    list[i].setBytes(mean.bytes);
    list[i].setUses(means[i].uses);
  }
  builder.setBytes(totals.bytes);
  builder.setAnchors(totals.anchors);
  builder.setAnchorBytes(totals.anchor_bytes);
  builder.setLimitBytes(totals.limit_bytes);
  builder.setPlans(team.plans());
  builder.setReused(team.reused());
}

}  // namespace kvcommons
