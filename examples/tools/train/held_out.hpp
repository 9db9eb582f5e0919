// What a run makes of its held-out text on the way: scores, and samples that go on where a part of it ends.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "byte_bits.hpp"
#include "display.hpp"
#include "interrupt.hpp"
#include "metrics.hpp"
#include "qllk/core/random.hpp"
#include "qllk/data/corpus.hpp"
#include "qllk/generate/generator.hpp"
#include "qllk/train/evaluate.hpp"
#include "qllk/train/trainer.hpp"
#include "tool.hpp"
#include "train/choices.hpp"

namespace train_tool {

using tool::grouped, tool::Interrupt;

/// By the averaged weights of a trainer. Keeps references to it and to the display.
template <class Model>
class HeldOut {
 public:
  HeldOut(train::Trainer<Model>& trainer, data::Corpus text, tool::Display& display)
      : trainer_(trainer), text_(std::move(text)), display_(display) {}

  /// The last quick score; 0 before the first.
  double quick() const { return quick_; }

  /// After each tenth of the budget, unless that would take more than a tenth of the time.
  bool quick_due(double done) const {
    return done - quick_share_ >= 0.1 && trainer_.progress().seconds - quick_at_ >= 10 * quick_took_;
  }

  /// Of pieces spread evenly over the text, each scored from the start byte: a text begins with what is not typical of
  /// it.
  void quick_score(double done) {
    const auto start = Clock::now();
    const auto pieces = quick_pieces();
    if (quick_share_ < 0)
      display_.line(pieces.size() == 1
                        ? "val below   of all " + grouped(text_.size()) + " held-out bytes"
                        : "val below   a quick score of " + grouped(kQuickPieces) + " pieces of " +
                              grouped(kQuickPieceBytes) + " held-out bytes; all of them are scored at the end");
    train::Score sum;
    for (const data::Corpus& piece : pieces) {
      const auto score = evaluate(piece, [](const train::Score&) {});
      sum.bytes += score.bytes;
      sum.nats += score.nats;
    }
    quick_ = sum.bits_per_byte();
    quick_share_ = done;
    quick_at_ = trainer_.progress().seconds;
    quick_took_ = std::chrono::duration<double>(Clock::now() - start).count();
  }

  /// Of all of it; nothing if there was an interrupt.
  std::optional<train::Score> full_score() {
    display_.begin();
    const auto all = static_cast<double>(text_.size());
    const auto score = evaluate(text_, [&](const train::Score& so_far) {
      display_.progress(static_cast<double>(so_far.bytes) / all,
                        [&] { return "scoring  " + number(so_far.bits_per_byte()) + " bits/byte"; });
    });
    display_.clear();
    if (score.bytes < text_.size()) return std::nullopt;
    return score;
  }

  /// What the model makes of a beginning that it has not seen, at a share of that text. Late: its start is often of one
  /// piece with the end of what the model trains on. Nothing if there was an interrupt.
  std::optional<tool::Sample> sample(double place = 0.8) {
    constexpr std::size_t kPrompt = 120;
    constexpr int kLength = 400;
    if (Interrupt::requested()) return std::nullopt;
    const std::uint64_t size = text_.size();
    const auto at = static_cast<std::uint64_t>(place * static_cast<double>(size));
    std::vector<Byte> text(static_cast<std::size_t>(std::min<std::uint64_t>(size - at, 4096)));
    text_.copy(at, text);
    auto begin = std::find(text.begin(), text.end(), Byte{'\n'});
    begin = std::distance(begin, text.end()) > static_cast<std::ptrdiff_t>(kPrompt) ? begin + 1 : text.begin();
    const Bytes prompt =
        Bytes(text).subspan(static_cast<std::size_t>(begin - text.begin())).first(std::min(kPrompt, text.size()));

    std::vector<Byte> written;
    trainer_.with_average([&](const auto& params) {
      generate::Generator<Model> generator(trainer_.model(), params);
      const generate::Sampler sampler({.temperature = 0.7, .repeat = 16});
      Random random = Random::of(trainer_.settings().seed, 0x53616D706C65);
      generator.feed(prompt);
      for (int i = 0; i < kLength; ++i) written.push_back(generator.next(sampler, random));
    });
    display_.line("--- sample after step " + grouped(static_cast<std::uint64_t>(trainer_.progress().steps)) +
                  ": a prompt from the held-out text");
    display_.text(prompt);
    display_.line("--- and the continuation");
    display_.text(written);
    display_.line("---");
    return tool::Sample{tool::visible(prompt, ""), tool::visible(written, "")};
  }

  /// A piece from the middle of the text, read behind the bytes before it, and what each of its bytes costs.
  tool::CostedText costed() {
    constexpr std::uint64_t kBefore = 2048, kShown = 3000;
    const std::uint64_t size = text_.size(), begin = size > 2 * kShown ? size / 2 : 0;
    const std::uint64_t before = std::min(kBefore, begin), shown = std::min(kShown, size - begin);
    tool::CostedText out;
    out.bytes.resize(static_cast<std::size_t>(before + shown));
    out.bits.resize(out.bytes.size());
    text_.copy(begin - before, out.bytes);
    trainer_.with_average([&](const auto& params) { tool::ByteBits(trainer_.model(), params)(out.bytes, out.bits); });
    const auto hidden = static_cast<std::ptrdiff_t>(before);
    out.bytes.erase(out.bytes.begin(), out.bytes.begin() + hidden);
    out.bits.erase(out.bits.begin(), out.bits.begin() + hidden);
    return out;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint64_t kQuickPieces = 8, kQuickPieceBytes = 4096;  // scored now and then during training

  /// The middles of equal parts of the text, or all of a text that has no more bytes than these.
  std::vector<data::Corpus> quick_pieces() const {
    const std::uint64_t size = text_.size();
    if (size <= kQuickPieces * kQuickPieceBytes) return {text_};
    std::vector<data::Corpus> pieces;
    for (std::uint64_t i = 0; i < kQuickPieces; ++i) {
      const std::uint64_t begin = size * i / kQuickPieces, end = size * (i + 1) / kQuickPieces;
      const std::uint64_t first = begin + (end - begin - kQuickPieceBytes) / 2;
      pieces.push_back(text_.slice(first, first + kQuickPieceBytes));
    }
    return pieces;
  }

  /// The score so far as there was no interrupt.
  template <class OnScore>
  train::Score evaluate(const data::Corpus& text, OnScore&& on_score) {
    const auto go_on = [&](const train::Score& so_far) {
      on_score(so_far);
      return !Interrupt::requested();
    };
    return trainer_.with_average([&](const auto& params) {
      return train::evaluate(trainer_.model(), params, text, go_on, {.threads = trainer_.threads()});
    });
  }

  train::Trainer<Model>& trainer_;
  data::Corpus text_;
  tool::Display& display_;
  double quick_ = 0, quick_share_ = -1, quick_at_ = 0, quick_took_ = 0;
};

}  // namespace train_tool
