#include "registry.h"

enum restart_decision restart_decide(const struct restart_policy *policy,
                                     struct restart_state *state, bool running, int64_t now) {
    if (running) {
        if (state->healthy_since == 0) {
            state->healthy_since = now;
        }
        if (state->attempts > 0 && now - state->healthy_since >= policy->reset_s) {
            *state = (struct restart_state){.healthy_since = state->healthy_since};
        }
        return RESTART_NOTHING;
    }
    state->healthy_since = 0;
    if (state->attempts >= policy->max_retries) {
        bool first = !state->exhausted;
        state->exhausted = true;
        return first ? RESTART_EXHAUSTED : RESTART_NOTHING;
    }
    if (state->next_retry == 0) {
        state->next_retry = now + policy->initial_s;
        return RESTART_NOTHING;
    }
    if (now < state->next_retry) {
        return RESTART_NOTHING;
    }
    state->attempts++;
    uint64_t delay = (uint64_t)policy->initial_s << (state->attempts < 16 ? state->attempts : 16);
    state->next_retry = now + (int64_t)(delay < policy->max_s ? delay : policy->max_s);
    return RESTART_NOW;
}
