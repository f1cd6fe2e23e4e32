/*
 * Packets of no session that open none, to services whose strays are judged here. One that a shard would drop ends here, by the same
 * reason, whatever it costs its sender to send many. All others go up, and these are:
 *
 * - the packets of a client that returns a right cookie, or of which a packet of a session in the lane has gone up: a shard may know
 *   a session of theirs that is not in the lane, or not yet (`known_clients`);
 * - all of them, while a shard has sessions for which the lane had no room (`outside`);
 * - some in each window of time, because a shard may have an answer: a RST to a client whose cookie is too old, or whose session was
 *   lost (`proxy.synproxy`, `shard.strays`);
 * - those to a service in "auto" whose shard is not there to say whether its clients may have cookies (`state.latch`).
 */
#pragma once
#include "front_door.h"

#define KNOWN_FOR_NS (COOKIE_SLOTS * COOKIE_SLOT_S * NS_PER_S)

/*
 * In the place of a counter: nothing that a shard would drop; an acknowledgement of a right cookie without the data for which its
 * service waits, to which nobody has an answer; and a packet that opens a session by a right cookie, with the code of its offer
 * in the bits below.
 */
#define NO_STRAY 0x103
#define NO_DATA_YET 0x106
#define PROVES 0x1000
#define IS_PROOF(verdict) ((verdict) >= PROVES)

static __always_inline struct known_client client_of(const struct packet *packet)
{
	struct known_client client = {
		.source = packet->source,
		.destination = packet->destination,
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
	};

	return client;
}

/* From now on the client's packets go up, for as long as a cookie is good. */
static __noinline int know_client(const struct packet *packet)
{
	struct known_client client = client_of(packet);
	__u64 now = bpf_ktime_get_ns();

	return bpf_map_update_elem(&known_clients, &client, &now, BPF_ANY);
}

/* The same for a packet of a session that goes up: its session may leave the lane for it, as for a new connection of its client. */
static __always_inline void know_client_of(const struct packet *packet, const struct session *session)
{
	if (session->has_flow && session->direction == INBOUND && packet->protocol == IPPROTO_TCP)
		know_client(packet);
}

static __always_inline int is_known(const struct packet *packet)
{
	struct known_client client = client_of(packet);
	__u64 *since = bpf_map_lookup_elem(&known_clients, &client);

	return since && bpf_ktime_get_ns() - *since < KNOWN_FOR_NS;
}

/* Whether a shard may have an answer to a packet that it would drop: never to a RST, and to nothing without an acknowledgement. */
static __always_inline int may_have_answer(const struct packet *packet, int counter)
{
	return counter != COUNT_BAD_FLAGS && (packet->flags & (ACK | RST)) == ACK;
}

/* What went up on this CPU in this window of time. */
static __always_inline struct stray_budget *budget_of_window(void)
{
	__u64 window = bpf_ktime_get_ns() >> STRAY_WINDOW_BITS;
	__u32 zero = 0;
	struct stray_budget *budget = bpf_map_lookup_elem(&stray_budget, &zero);

	if (budget && budget->window != window) {
		budget->window = window;
		budget->spent = budget->spent_on_syns = 0;
	}
	return budget;
}

/* Whether one more stray may go up in this window. */
static __always_inline int is_allowed(const struct stray_rule *rule)
{
	struct stray_budget *budget = budget_of_window();

	if (!budget)
		return 1;
	if (budget->spent >= rule->allowance)
		return 0;
	budget->spent += 1;
	return 1;
}

/* Whether the packet comes from where clients are, and its source is one that a packet may go back to there. */
static __noinline __u32 judge_source(struct __sk_buff *skb, struct packet *packet)
{
	struct way_out way = {};
	struct rewrite to = {
		.source = packet->destination,
		.destination = packet->source,
		.source_port = packet->destination_port,
		.destination_port = packet->source_port,
	};

	return find_client(skb, packet, &to, &way);
}

/* Whether a host sends these flags together: `shard.sanity`. PSH may go with each. */
static __always_inline int are_sensible(__u32 flags)
{
	flags &= ~PSH;
	return flags == (SYN | ACK) || flags == RST || flags == (RST | ACK) || (flags & ~(FIN | URG)) == ACK;
}

/* Whether a client may have a cookie of its service that is still good, by the latch of its shard. */
static __always_inline int are_cookies_out(const struct latch *latch)
{
	__u64 now = bpf_ktime_get_ns(), last = *(volatile __u64 *)&latch->last_cookie_ns;

	if (*(volatile __u32 *)&latch->is_open || now < *(volatile __u64 *)&latch->cookies_until_ns)
		return 1;
	return last && now - last < KNOWN_FOR_NS;
}

/* The rule for this client, whose shard may know more: 0 when nobody says what it may have. */
static __always_inline int ask_latch(const struct packet *packet, struct stray_rule *rule)
{
	struct latch *latch;

	if (rule->stray_latch == NO_LATCH)
		return 1;
	latch = latch_of(packet, rule->stray_latch);
	if (!latch || !*(volatile __u32 *)&latch->is_kept)
		return 0;
	rule->cookies = are_cookies_out(latch);
	return 1;
}

/* Whether packets with a wrong cookie end here. Where all of them are strays but for a moment, it is asked for by the switch of strays. */
static __always_inline int drops_wrong_cookies(const struct stray_rule *rule)
{
	return rule->drops || rule->stray_latch == NO_LATCH;
}

/* What a shard would count when it dropped the packet; NO_STRAY when it may be one that it would not. */
static __noinline int judge_stray(const struct packet *packet, const struct stray_rule *rule)
{
	__u32 is_null = rule->defers && !packet->payload, may_be_probe = rule->defers && packet->payload <= 1;
	__u32 code = 0;
	int found;

	if (!rule->cookies && !rule->drops)
		return NO_STRAY;
	if (!are_sensible(packet->flags))
		return rule->drops ? COUNT_BAD_FLAGS : NO_STRAY;
	if ((packet->flags & (ACK | SYN | RST)) != ACK)
		return rule->drops ? COUNT_STRAY : NO_STRAY;
	if (!rule->cookies)
		return COUNT_STRAY;
	found = check_cookie(packet, packet->seq - 1, &code);
	if (found == COOKIE_IS_RIGHT)
		return is_null ? NO_DATA_YET : (int)(PROVES | (code & OFFER_MASK));
	if (found == COOKIE_IS_WRONG && may_be_probe && !(packet->flags & FIN))
		found = check_cookie(packet, packet->seq, &code);
	if (found == COOKIE_IS_RIGHT)
		know_client(packet);
	if (found != COOKIE_IS_WRONG || !drops_wrong_cookies(rule))
		return NO_STRAY;
	return is_null ? COUNT_NULL_COOKIE_ACK : COUNT_BAD_COOKIE;
}

/* Counts a packet for each of its segments, as a shard gets them. */
static __always_inline void count_segments_as(const struct packet *packet, __u32 counter)
{
	__u64 *number = bpf_map_lookup_elem(&counts, &counter);

	if (number)
		*number += packet->segments;
}

/* The rule for the service of a segment; null when it has none. */
static __always_inline struct stray_rule *stray_rule_of(struct __sk_buff *skb, struct packet *packet)
{
	struct front_door_key key;

	if (read_tcp(skb, packet))
		return 0;
	key = service_of(packet);
	return bpf_map_lookup_elem(&stray_rules, &key);
}

/* A function of its own, for its stack: the segment is read anew. It has no session in the lane. Returns a verdict, or PROVES. */
static __noinline int end_stray(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct stray_rule *found = 0, rule;
	__u32 reason;
	int counter;

	if (!read_ip(skb, &packet))
		found = stray_rule_of(skb, &packet);
	if (!found || is_known(&packet) || are_some_outside())
		return up(COUNT_UP_NO_SESSION);
	rule = *found;
	if (!ask_latch(&packet, &rule))
		return up(COUNT_UP_NO_SESSION);
	counter = judge_stray(&packet, &rule);
	if (IS_PROOF(counter))
		return counter;
	if (counter == NO_STRAY)
		return up(COUNT_UP_NO_SESSION);
	reason = judge_source(skb, &packet);
	if (reason)
		return up(reason);
	if (counter == NO_DATA_YET)
		counter = COUNT_NULL_COOKIE_ACK;
	else if (may_have_answer(&packet, counter) && is_allowed(&rule))
		return up(COUNT_UP_NO_SESSION);
	count_segments_as(&packet, counter);
	return TC_ACT_SHOT;
}
