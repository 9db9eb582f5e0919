// Configurations of models and trainers in JSON, and changes to them on the command line.
#pragma once

#include <string>
#include <vector>

#include "fuzz/input.hpp"
#include "overrides.hpp"
#include "qllk/io/architectures.hpp"
#include "qllk/train/checkpoint.hpp"

namespace qllk::fuzz {

/// One --set a line; the first line that is none begins a file for --config.
struct Configuration {
  using Model = QLLKTransformer<float, mixers::Registered>;

  static std::vector<std::string> seeds() {
    const std::string all = tool::picks_to_json(Model::Config{}, train::TrainerSettings{}).dump();
    return {"dim=64\nbatch=4\n{}",
            "mixer.name=rwkv7\nmatch.lengths=[3,2]\n\n",
            "adam.learning_rate=1e-3\ncrops=consecutive\n{\"settings\":{\"seed\":18446744073709551615}}",
            "\n" + all,
            "mixer.heads=2\n{\"config\":{\"mixer\":[{\"name\":\"mamba\"},{\"name\":\"latent\"}],\"layers\":2}}",
            "\n{\"config\":{\"mixer\":{\"name\":\"softmax\",\"window\":64}}}"};
  }

  static void run(Bytes input) {
    static InputPath path;
    Reader reader(input);
    std::vector<std::string> assignments;
    for (std::string line; (line = reader.line()).find('=') < line.find('{') && assignments.size() < 4;)
      assignments.push_back(line);
    Model::Config config;
    train::TrainerSettings settings;
    try {
      tool::override_picks(reader.rest().empty() ? "" : path.write(reader.rest()), assignments, config, settings);
      train::checked(settings);
      const Json json = io::to_json(config);
      Model::Config again;
      io::from_json(json, again, "config");
      expect(again == config, "a configuration does not come back from JSON");
    } catch (const std::runtime_error&) {
    } catch (const std::invalid_argument&) {
    }
  }

 private:
  using Json = io::Json;
};

}  // namespace qllk::fuzz
