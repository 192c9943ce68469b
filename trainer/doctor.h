// `switchyard doctor`: what this build and this machine can do, and what each missing piece costs.
#pragma once

namespace sy {

int run_doctor();

}  // namespace sy
