#include "talpa/text/metaspace.h"

namespace talpa::text {

Metaspace read_metaspace(Component& component) {
  Metaspace metaspace;
  metaspace.replacement = component.character("replacement");
  component.ignore("str_rep");
  metaspace.split = component.boolean("split", true);
  const bool add_prefix_space = component.boolean("add_prefix_space", true);
  const std::string scheme =
      component.string("prepend_scheme", add_prefix_space ? "always" : "never");
  if (scheme == "always") {
    metaspace.prepend = PrependScheme::kAlways;
  } else if (scheme == "first") {
    metaspace.prepend = PrependScheme::kFirst;
  } else if (scheme == "never") {
    metaspace.prepend = PrependScheme::kNever;
  } else {
    component.fail_unknown("prepend_scheme", scheme);
  }
  if (!add_prefix_space && metaspace.prepend != PrependScheme::kNever)
    component.fail_format("\"add_prefix_space\" contradicts \"prepend_scheme\"");
  return metaspace;
}

}  // namespace talpa::text
