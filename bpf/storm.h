/* ACK storms in proxied sessions: the rule of `state.ack_storm`. */
#pragma once
#include "options.h"

#define MIXER 0x9e3779b97f4a7c15ull
#define MOST_REPEATS 0xffff

/* A number made of all options: that of a timestamp alone are its two values. */
static __always_inline __u64 digest_of_options(struct __sk_buff *skb, struct packet *packet)
{
	__u64 digest = 0;

	if (packet->options == TIMESTAMP_BYTES)
		return (__u64)word_at(skb, OPTIONS_START + 4) << 32 | word_at(skb, OPTIONS_START + 8);
#pragma clang loop unroll(disable)
	for (__u32 at = 0; at < MOST_OPTIONS; at += 4) {
		if (at >= packet->options)
			break;
		digest = (digest + word_at(skb, OPTIONS_START + at)) * MIXER;
		digest ^= digest >> 32;
	}
	return digest;
}

/* Whether a real server's packet is one pure acknowledgement too many of the same. */
static __always_inline int is_storm(struct __sk_buff *skb, struct packet *packet, struct session_record *record,
				    struct settings *settings, __u64 now)
{
	__u64 options;
	int is_same;

	if (packet->payload || !settings->storm_threshold || (packet->offset_flags & ALL_FLAGS) != ACK)
		return 0;
	options = digest_of_options(skb, packet);
	is_same = record->storm_seq == packet->seq && record->storm_ack == packet->ack && record->storm_window == packet->window &&
		  record->storm_options == options && now - record->storm_ns < settings->storm_interval_ns;
	record->storm_ns = now;
	if (is_same) {
		if (record->storm_repeats < MOST_REPEATS)
			record->storm_repeats += 1;
	} else {
		record->storm_seq = packet->seq;
		record->storm_ack = packet->ack;
		record->storm_window = packet->window;
		record->storm_options = options;
		record->storm_repeats = 0;
	}
	return record->storm_repeats >= settings->storm_threshold;
}
