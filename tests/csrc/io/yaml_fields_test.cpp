// The strict reader: what it accepts, and the exact line for each mistake. Also printing and listing.
#include "csrc/io/yaml_fields.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "csrc/core/registry.h"
#include "csrc/io/list_fields.h"
#include "csrc/io/print_fields.h"

namespace sy {
namespace {

// A toy interface with two implementations, as a method folder would have.
struct Shape {
  struct Build {};
  virtual ~Shape() = default;
  virtual double area() const = 0;
};
struct Square final : Shape {
  struct Config {
    double side = 1;
  };
  Square(const Config& c, const Build&) : side(c.side) {}
  double area() const override { return side * side; }
  double side;
};
void describe(Square::Config& c, Fields& f) {
  f.field("side", c.side, "length of a side", {.min = 0, .above_min = true});
}
struct Rectangle final : Shape {
  struct Config {
    double width = 2;
    double height = 0;
  };
  Rectangle(const Config& c, const Build&) : width(c.width), height(c.height) {}
  double area() const override { return width * height; }
  double width, height;
};
void describe(Rectangle::Config& c, Fields& f) {
  f.field("width", c.width, "from left to right");
  f.field("height", c.height, "from bottom to top", {.required = true});
}
SY_REGISTER(Shape, Square, "square", "equal sides");
SY_REGISTER(Shape, Rectangle, "rectangle", "two sides");

enum class Colour { kRed, kGreen };

struct Point {
  int64_t x = 0;
};

struct Toy {
  int64_t count = 3;
  double rate = 0.5;
  bool enabled = false;
  std::string title = "plain";
  std::vector<int64_t> sizes = {1};
  std::vector<double> weights;
  std::vector<std::string> names;
  Colour colour = Colour::kRed;
  double gloss = 0.25;
  int64_t needed = 0;
  Component<Shape> shape{"square"};
  Component<Shape> optional_shape;
  ComponentList<Shape> shapes;
  std::vector<Point> points;
};

void describe(Toy& c, Fields& f) {
  f.section("paint", "How it looks.", [&](Fields& g) {
    g.field("colour", c.colour, {{"red", Colour::kRed}, {"green", Colour::kGreen}}, "of the surface");
    g.field("gloss", c.gloss, "of green paint",
            {.active = c.colour == Colour::kGreen, .active_when = "colour is green"});
  });
  f.field("count", c.count, "how many", {.min = 1, .max = 1e9});
  f.field("rate", c.rate, "how fast", {.min = 0, .max = 1, .above_min = true});
  f.field("enabled", c.enabled, "whether");
  f.field("title", c.title, "what | which");
  f.field("sizes", c.sizes, "how large", {.min = 0});
  f.field("weights", c.weights, "how heavy");
  f.field("names", c.names, "who");
  f.section("inner", "Inside.", [&](Fields& g) {
    g.field("needed", c.needed, "must be given", {.required = true});
    g.require(c.needed != 13, "needed", "13 is unlucky");
  });
  f.field("shape", c.shape, "the form");
  f.field("optional_shape", c.optional_shape, "a form or none");
  f.field("shapes", c.shapes, "more forms");
  f.section_list("points", "Corners.", c.points.size(), [&](std::size_t i, Fields& g) {
    if (c.points.size() <= i) c.points.resize(i + 1);
    g.field("x", c.points[i].x, "position");
  });
  f.require(c.count != c.needed, "count", "equals inner.needed");
}

Toy read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  YamlDocument document = YamlDocument::from_text(text, "toy.yaml");
  for (const std::string& assignment : overrides) document.apply_override(assignment);
  Toy toy;
  read_fields(document, "", [&](Fields& f) { describe(toy, f); });
  return toy;
}

std::string print(Toy toy) {
  return print_fields([&](Fields& f) { describe(toy, f); });
}

// The message of the UserError that reading gives, or "no error".
std::string error(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    read(text, overrides);
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}

const char* kInner = "inner: {needed: 7}\n";
std::string with(const std::string& text) { return kInner + text; }

TEST(YamlFields, AbsentKeysKeepTheirDefaults) {
  const Toy toy = read(kInner);
  EXPECT_EQ(toy.needed, 7);
  EXPECT_EQ(toy.count, 3);
  EXPECT_EQ(toy.sizes, std::vector<int64_t>{1});
  EXPECT_EQ(toy.shape.type(), "square");
  EXPECT_EQ(toy.optional_shape.type(), "");
}

TEST(YamlFields, EveryKindOfValueIsRead) {
  const Toy toy =
      read(with("count: 1e6\nrate: 1\nenabled: Yes\ntitle: \"a: b\"\nsizes: [1, 2.0, 3]\nweights: [1, 2.5e-1]\n"
                "names: [a, '1']\npaint:\n  colour: green\n  gloss: 0.5\npoints:\n  - x: 4\n  - {x: 5}\n"));
  EXPECT_EQ(toy.count, 1000000);
  EXPECT_EQ(toy.rate, 1.0);
  EXPECT_TRUE(toy.enabled);
  EXPECT_EQ(toy.title, "a: b");
  EXPECT_EQ(toy.sizes, (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(toy.weights, (std::vector<double>{1, 0.25}));
  EXPECT_EQ(toy.names, (std::vector<std::string>{"a", "1"}));
  EXPECT_EQ(toy.colour, Colour::kGreen);
  EXPECT_EQ(toy.gloss, 0.5);
  ASSERT_EQ(toy.points.size(), 2u);
  EXPECT_EQ(toy.points[1].x, 5);
}

TEST(YamlFields, BooleanWordsAreReadInThreeSpellings) {
  for (const char* word : {"true", "True", "TRUE", "yes", "on", "ON"})
    EXPECT_TRUE(read(with(fmt::format("enabled: {}", word))).enabled);
  for (const char* word : {"false", "No", "off"}) EXPECT_FALSE(read(with(fmt::format("enabled: {}", word))).enabled);
}

TEST(YamlFields, ComponentIsAMappingOrABareName) {
  Toy toy = read(with("shape: {type: square, side: 3}\nshapes:\n  - square\n  - type: rectangle\n    height: 5\n"));
  EXPECT_EQ(toy.shape.build({})->area(), 9);
  ASSERT_EQ(toy.shapes.count(), 2u);
  EXPECT_EQ(toy.shapes.items()[0].build({})->area(), 1);
  EXPECT_EQ(toy.shapes.items()[1].build({})->area(), 10);
  EXPECT_EQ(read(with("shape: {side: 4}")).shape.build({})->area(), 16) << "without a type the default type stays";
}

TEST(YamlFields, CopyOfAComponentDoesNotShareItsConfig) {
  const Toy toy = read(with("shape: {type: square, side: 3}"));
  Toy copy = toy;
  read_fields(YamlDocument::from_text("shape: {side: 5}\ninner: {needed: 1}", "copy.yaml"), "",
              [&](Fields& f) { describe(copy, f); });
  EXPECT_EQ(copy.shape.build({})->area(), 25);
  EXPECT_EQ(toy.shape.build({})->area(), 9);
}

TEST(YamlFields, APathReadsAPartOfTheDocument) {
  const YamlDocument document = YamlDocument::from_text("a:\n  b:\n    colour: green\nc: 1\n", "part.yaml");
  Toy toy;
  const auto describe_paint = [&](Fields& f) {
    f.field("colour", toy.colour, {{"red", Colour::kRed}, {"green", Colour::kGreen}}, "of the surface");
  };
  read_fields(document, "a.b", describe_paint);
  EXPECT_EQ(toy.colour, Colour::kGreen);
  try {
    read_fields(document, "a", describe_paint);
    FAIL();
  } catch (const UserError& e) {
    EXPECT_STREQ(e.what(), "part.yaml:2: unknown key 'b' in section 'a'; known keys: colour");
  }
}

struct Mistake {
  const char* text;
  const char* message;
};

TEST(YamlFields, EveryMistakeHasItsLine) {
  // Line 1 of each text is kInner.
  const std::vector<Mistake> mistakes = {
      {"cuont: 4", "toy.yaml:2: unknown key 'cuont' at the top level; did you mean 'count'?"},
      {"paint:\n  color: red", "toy.yaml:3: unknown key 'color' in section 'paint'; did you mean 'colour'?"},
      {"paint:\n  rate: 1", "toy.yaml:3: unknown key 'rate' in section 'paint'; it belongs to 'rate'"},
      {"needed: 1", "toy.yaml:2: unknown key 'needed' at the top level; it belongs to 'inner.needed'"},
      {"paint: {xyzzy: 1}", "toy.yaml:2: unknown key 'xyzzy' in section 'paint'; known keys: colour, gloss"},
      {"paint: {titel: 1}", "toy.yaml:2: unknown key 'titel' in section 'paint'; did you mean 'title'?"},
      {"shape: {type: square, height: 1}",
       "toy.yaml:2: unknown key 'height' in 'shape' of type 'square'; it belongs to 'shape.height' with type: "
       "rectangle"},
      {"num_local_experts: 8",
       "toy.yaml:2: unknown key 'num_local_experts' at the top level; it is Mixtral's name, write 'moe.num_experts' "
       "here"},
      {"decay: 1\nlr: 1",
       "toy.yaml:2: unknown key 'decay' at the top level; known keys: paint, count, rate, enabled, title, "
       "sizes, weights, names, inner, shape, optional_shape, shapes, points"},
      {"count: abc", "toy.yaml:2: count is 'abc', but must be a whole number"},
      {"count: 1.5", "toy.yaml:2: count is '1.5', but must be a whole number"},
      {"count: 1e-3", "toy.yaml:2: count is '1e-3', but must be a whole number"},
      {"count: 99999999999999999999", "toy.yaml:2: count is '99999999999999999999', but must be a whole number"},
      {"count: '12'", "toy.yaml:2: count is the text \"12\", but must be a whole number; remove the quotes"},
      {"count: true", "toy.yaml:2: count is 'true', but must be a whole number"},
      {"count: [1]", "toy.yaml:2: count is a list, but must be a whole number"},
      {"count:", "toy.yaml:2: count is empty, but must be a whole number"},
      {"count: 0", "toy.yaml:2: count is 0, but must be at least 1 and at most 1000000000"},
      {"rate: fast", "toy.yaml:2: rate is 'fast', but must be a number"},
      {"rate: .nan", "toy.yaml:2: rate is '.nan', but must be a number"},
      {"rate: 0", "toy.yaml:2: rate is 0, but must be greater than 0 and at most 1"},
      {"rate: 1.01", "toy.yaml:2: rate is 1.01, but must be greater than 0 and at most 1"},
      {"enabled: 1", "toy.yaml:2: enabled is '1', but must be true or false"},
      {"enabled: 'true'", "toy.yaml:2: enabled is the text \"true\", but must be true or false"},
      {"title: [a]", "toy.yaml:2: title is a list, but must be a text"},
      {"title:", "toy.yaml:2: title is empty, but must be a text; write \"\" for none"},
      {"sizes: 4", "toy.yaml:2: sizes is '4', but must be a list of whole numbers, as [1, 2]"},
      {"sizes:\n  - 4\n  - x", "toy.yaml:4: sizes.1 is 'x', but must be a whole number"},
      {"sizes: [-1]", "toy.yaml:2: sizes.0 is -1, but must be at least 0"},
      {"weights: [a]", "toy.yaml:2: weights.0 is 'a', but must be a number"},
      {"names: [[a]]", "toy.yaml:2: names.0 is a list, but must be a text"},
      {"paint: {colour: gren}",
       "toy.yaml:2: paint.colour is 'gren', but must be one of red, green; did you mean 'green'?"},
      {"paint: {colour: 3}", "toy.yaml:2: paint.colour is '3', but must be one of red, green"},
      {"paint: {colour: [red]}", "toy.yaml:2: paint.colour is a list, but must be one of red, green"},
      {"paint: {gloss: 1}",
       "toy.yaml:2: paint.gloss has an effect only when colour is green; remove it (as an override: "
       "paint.gloss=null)"},
      {"paint: red", "toy.yaml:2: paint is 'red', but must be a section of 'key: value' lines"},
      {"shape: sqare", "toy.yaml:2: shape is 'sqare', but must be one of rectangle, square; did you mean 'square'?"},
      {"shape:\n  type: circle", "toy.yaml:3: shape.type is 'circle', but must be one of rectangle, square"},
      {"shape: [square]", "toy.yaml:2: shape is a list, but must be one of rectangle, square"},
      {"shape:", "toy.yaml:2: shape is empty, but must be one of rectangle, square"},
      {"shape: rectangle", "toy.yaml: shape.height is missing; it has no default (from bottom to top)"},
      {"optional_shape: {side: 1}", "toy.yaml:2: optional_shape has no 'type'; add one of rectangle, square"},
      {"shapes: square", "toy.yaml:2: shapes is 'square', but must be a list, as [{type: ...}]"},
      {"shapes:\n  - side: 3", "toy.yaml:3: shapes.0 has no 'type'; add one of rectangle, square"},
      {"shapes:\n  - type: square\n    sied: 3",
       "toy.yaml:4: unknown key 'sied' in 'shapes.0' of type 'square'; did you mean 'side'?"},
      {"points: 3", "toy.yaml:2: points is '3', but must be a list of sections, each starting with '-'"},
      {"points: [3]", "toy.yaml:2: points.0 is '3', but must be a section of 'key: value' lines"},
      {"points: [{y: 3}]", "toy.yaml:2: unknown key 'y' in section 'points.0'; known keys: x"},
      {"count: 7", "toy.yaml:2: count: equals inner.needed"},
      {"count: 4\nrate: 1\ncount: 5", "toy.yaml:4: key 'count' was already given at toy.yaml:2; remove one of them"},
      {"a: &a [1]\n<<: *a", "toy.yaml:3: merge keys ('<<') are not supported; write the keys out"},
      {"count: !int 4", "toy.yaml:2: YAML tags (!int) are not supported; write the plain value"},
      {"[a]: 4", "toy.yaml:2: a key must be a plain word"},
      {"count: 4\n---\nrate: 1", "toy.yaml: holds several YAML documents ('---'); keep one"},
      {"paint:\n\tcolour: red", "toy.yaml:3: not valid YAML (illegal map value at column 8)"},
  };
  for (const Mistake& mistake : mistakes) EXPECT_EQ(error(with(mistake.text)), mistake.message) << mistake.text;
}

TEST(YamlFields, LongAndMultiLineTextIsShownInOneShortLine) {
  EXPECT_EQ(error(with("count: \"a\\nb\\0\"")), "toy.yaml:2: count is the text \"a b \", but must be a whole number");
  EXPECT_EQ(error(with("count: " + std::string(5000, 'x'))),
            "toy.yaml:2: count is '" + std::string(200, 'x') + "...', but must be a whole number");
  EXPECT_EQ(error(with("\"co\\nunt\": 4")), "toy.yaml:2: a key must be a plain word");
  EXPECT_EQ(error(with("count: \"\\\nq\\\x01\"")).find('\n'), std::string::npos);
  EXPECT_EQ(error(kInner, {"co\nunt=4"}), "override 'co unt=4': write section.key=value, as train.train_iters=100");
}

TEST(YamlFields, MissingKeyIsReportedAfterUnknownOnes) {
  EXPECT_EQ(error("count: 4"), "toy.yaml: inner.needed is missing; it has no default (must be given)");
  EXPECT_EQ(error(""), "toy.yaml: inner.needed is missing; it has no default (must be given)");
  EXPECT_EQ(error("count: 4\ninner:\n"), "toy.yaml: inner.needed is missing; it has no default (must be given)");
  EXPECT_EQ(error("inner:\n  neded: 4"), "toy.yaml:2: unknown key 'neded' in section 'inner'; did you mean 'needed'?");
  EXPECT_EQ(error("inner: {needed: 13}\nshape: rectangle"),
            "toy.yaml: shape.height is missing; it has no default (from bottom to top)");
  EXPECT_EQ(error("count: 4\ninner:\n  needed: 13"), "toy.yaml:3: inner.needed: 13 is unlucky");
}

TEST(YamlFields, DocumentMustBeAMapping) {
  EXPECT_EQ(error("- a"), "toy.yaml:1: a configuration is a mapping of sections ('model:', 'train:' ...), not a list");
  EXPECT_EQ(error("hello"),
            "toy.yaml:1: a configuration is a mapping of sections ('model:', 'train:' ...), not a single value");
}

TEST(YamlFields, AliasesOfAliasesCannotExhaustMemory) {
  std::string text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (int i = 1; i < 10; ++i) {
    text +=
        fmt::format("a{0}: &a{0} [*a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}]\n", i, i - 1);
  }
  EXPECT_NE(error(text).find("more than 100000 values; are aliases nested?"), std::string::npos) << error(text);
}

TEST(YamlFields, MissingFileIsOneLine) {
  EXPECT_THROW(YamlDocument::from_file("no/such.yaml"), UserError);
  try {
    YamlDocument::from_file("no/such.yaml");
  } catch (const UserError& e) {
    EXPECT_STREQ(e.what(), "no/such.yaml: cannot be opened: No such file or directory");
  }
  try {
    YamlDocument::from_file("tests");
  } catch (const UserError& e) {
    EXPECT_STREQ(e.what(), "tests: is a folder; name the YAML file inside it");
  }
}

TEST(Overrides, SetValuesAtAnyDepthInOrder) {
  const Toy toy = read(with("points: [{x: 1}, {x: 2}]\nshape: square\nshapes: [{type: square, side: 2}]"),
                       {"count=4", "count=5", "paint.colour=green", "sizes=[7, 8]", "points.1.x=9", "shape.side=6",
                        "shapes.0.side=3", "title=a=b"});
  EXPECT_EQ(toy.count, 5);
  EXPECT_EQ(toy.colour, Colour::kGreen);
  EXPECT_EQ(toy.sizes, (std::vector<int64_t>{7, 8}));
  EXPECT_EQ(toy.points[1].x, 9);
  EXPECT_EQ(toy.shape.build({})->area(), 36) << "a bare name becomes a mapping with that type";
  EXPECT_EQ(toy.shapes.items()[0].build({})->area(), 9);
  EXPECT_EQ(toy.title, "a=b");
}

TEST(Overrides, NullRemovesAKey) {
  const std::string green = with("paint: {colour: green, gloss: 0.75}");
  EXPECT_EQ(read(green, {"paint.gloss=null"}).gloss, 0.25);
  EXPECT_EQ(read(green, {"paint.colour=red", "paint.gloss=null"}).colour, Colour::kRed);
}

TEST(Overrides, MistakesNameTheOverride) {
  const std::string text = with("points: [{x: 1}]\npaint: {gloss: 1, colour: green}");
  const auto message = [&](const char* assignment) { return error(text, {assignment}); };
  EXPECT_EQ(message("cuont=4"), "override 'cuont=4': unknown key 'cuont' at the top level; did you mean 'count'?");
  EXPECT_EQ(message("paint.color=red"),
            "override 'paint.color=red': unknown key 'color' in section 'paint'; did you mean 'colour'?");
  EXPECT_EQ(message("pint.colour=red"),
            "override 'pint.colour=red': unknown key 'pint' at the top level; did you mean 'paint'?");
  EXPECT_EQ(message("count=abc"), "override 'count=abc': count is 'abc', but must be a whole number");
  EXPECT_EQ(message("count=0"), "override 'count=0': count is 0, but must be at least 1 and at most 1000000000");
  EXPECT_EQ(message("count=7"), "override 'count=7': count: equals inner.needed");
  EXPECT_EQ(message("count.x=7"), "override 'count.x=7': count is a section, but must be a whole number");
  EXPECT_EQ(message("points.1.x=7"),
            "override 'points.1.x=7': the list 'points' (toy.yaml:2) has elements 0 to 0, not '1'");
  EXPECT_EQ(message("points.x=7"),
            "override 'points.x=7': the list 'points' (toy.yaml:2) has elements 0 to 0, not 'x'");
  EXPECT_EQ(message("shapes.0.side=7"),
            "override 'shapes.0.side=7': 'shapes' is not a list in the file; set it whole, as shapes=[...]");
  EXPECT_EQ(
      message("paint.colour=red"),
      "toy.yaml:3: paint.gloss has an effect only when colour is green; remove it (as an override: paint.gloss=null)");
  EXPECT_EQ(message("count"), "override 'count': write section.key=value, as train.train_iters=100");
  EXPECT_EQ(message("paint..colour=red"),
            "override 'paint..colour=red': write section.key=value, as train.train_iters=100");
  EXPECT_EQ(message("=3"), "override '=3': write section.key=value, as train.train_iters=100");
  EXPECT_EQ(message("count="), "override 'count=': has no value; write null to remove the key, \"\" for an empty text");
  EXPECT_EQ(message("paint.glos=null"), "override 'paint.glos=null': there is no 'paint.glos' to remove");
  EXPECT_EQ(message("sizes=[1"), "override 'sizes=[1': the value is not valid YAML (end of sequence flow not found)");
  EXPECT_EQ(message("inner.needed=null"), "toy.yaml:1: inner.needed is missing; it has no default (must be given)");
}

TEST(PrintFields, ReadsBackToTheSame) {
  Toy toy = read(
      with("count: 12\nrate: 0.1\nenabled: on\nsizes: []\nweights: [1, 1e-30, 123456789.125]\npaint: {colour: green}\n"
           "shape: {type: rectangle, height: 3}\nshapes: [square, {type: rectangle, height: 1}]\n"
           "points: [{x: 1}, {x: 2}]"));
  toy.names = {"",  "no", "12",     "1e5", "null", "~", "a b", "- x", "a: b", "#c", "tab\tquote\"back\\slash",
               "é", ".5", "x.y/z-1"};
  const std::string text = print(toy);
  const Toy again = read(text);
  EXPECT_EQ(print(again), text);
  EXPECT_EQ(again.names, toy.names);
  EXPECT_EQ(again.weights, toy.weights);
  EXPECT_EQ(again.shape.build({})->area(), 6);
}

TEST(PrintFields, LeavesOutWhatHasNoEffect) {
  EXPECT_EQ(
      print(read(with("shapes: [square, square]\npoints: [{x: 1}]"))),
      "paint:\n  colour: red\ncount: 3\nrate: 0.5\nenabled: false\ntitle: plain\nsizes: [1]\nweights: []\nnames: []\n"
      "inner:\n  needed: 7\nshape:\n  type: square\n  side: 1.0\noptional_shape: null\n"
      "shapes:\n  - type: square\n    side: 1.0\n  - type: square\n    side: 1.0\npoints:\n  - x: 1\n");
}

TEST(ListFields, NamesEveryFieldOfEveryType) {
  Toy toy;
  std::vector<std::string> paths;
  for (const FieldInfo& info : list_fields([&](Fields& f) { describe(toy, f); })) {
    paths.push_back(info.component.empty() ? info.path : info.path + "@" + info.component);
  }
  EXPECT_EQ(paths, (std::vector<std::string>{"paint",
                                             "paint.colour",
                                             "paint.gloss",
                                             "count",
                                             "rate",
                                             "enabled",
                                             "title",
                                             "sizes",
                                             "weights",
                                             "names",
                                             "inner",
                                             "inner.needed",
                                             "shape",
                                             "shape@rectangle",
                                             "shape.width@rectangle",
                                             "shape.height@rectangle",
                                             "shape@square",
                                             "shape.side@square",
                                             "optional_shape",
                                             "optional_shape@rectangle",
                                             "optional_shape.width@rectangle",
                                             "optional_shape.height@rectangle",
                                             "optional_shape@square",
                                             "optional_shape.side@square",
                                             "shapes",
                                             "shapes.N@rectangle",
                                             "shapes.N.width@rectangle",
                                             "shapes.N.height@rectangle",
                                             "shapes.N@square",
                                             "shapes.N.side@square",
                                             "points",
                                             "points.N.x"}));
}

TEST(ListFields, MarkdownHasOneTablePerSectionAndType) {
  Toy toy;
  const std::string text = fields_markdown([&](Fields& f) { describe(toy, f); });
  for (const char* part :
       {"\n## paint\n\nHow it looks.\n\n| key | type | default | rule | meaning |\n|---|---|---|---|---|\n"
        "| `colour` | red \\| green | `red` |  | of the surface |\n"
        "| `gloss` | number | `0.25` | only when colour is green | of green paint |\n",
        "| `rate` | number | `0.5` | greater than 0 and at most 1 | how fast |\n",
        "| `title` | text | `plain` |  | what \\| which |\n", "| `needed` | integer |  | required | must be given |\n",
        "| `shape` | rectangle \\| square | `square` |  | the form |\n", "\n## shapes.N: square\n\nequal sides\n",
        "\n## points.N\n\nCorners.\n"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\nis not in\n" << text;
  }
}

}  // namespace
}  // namespace sy
