/*
 * A session whose client has returned a right cookie, and whose real server has not answered yet: what of its record differs from
 * that of any other new session, and the client's packet, which waits for the answer in the map `proofs` (`proxy.synproxy`).
 */
#pragma once
#include "cookie.h"
#include "options.h"
#include "session.h"

#define SACK_OPTION 0x01010402u /* two NOPs in front */
#define SCALE_OPTION 0x01030300u /* a NOP in front, the shift behind */
#define MOST_OFFERED 3 /* words of options in the SYN to a real server */

/* The options of the SYN to the real server, as `proxy.handshake` has them. Returns how many words they have. */
static __always_inline __u32 offered_options(const struct offer *offer, __be32 *options)
{
	__u32 words = 1;

	options[0] = bpf_htonl(MSS_HEAD << 16 | offer->mss);
	if (offer->sack) {
		options[1] = bpf_htonl(SACK_OPTION);
		words = 2;
	}
	if (offer->scale != COOKIE_NO_SCALE) {
		options[offer->sack ? 2 : 1] = bpf_htonl(SCALE_OPTION | offer->scale);
		words += 1;
	}
	return words;
}

/*
 * Makes a record that was filled for this client that of a proxied session. `packet` has the client's initial number; what it was
 * is in the scratch area. The shifts of windows are those for a real server that does not scale. Its SYN's options are for Python:
 * it may have to send that again. Returns 0, or the counter of why the packet goes up.
 */
static __noinline __u32 become_proxied(const struct packet *packet, struct session *session)
{
	union state_word asked = {.state = TCP_STATE_SYN_SENT, .flags = IS_OPENING | IN_FIRST_TABLE | HAS_COOKIE};
	struct session_record *record = session->record;
	__be32 options[MOST_OFFERED] = {};
	struct scratch *copy;
	struct offer offer = {};
	__u32 zero = 0;

	read_code(session->code, &offer);
	record->storm_reserved = 4 * offered_options(&offer, options);
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < MOST_OFFERED; i++)
		((__u32 *)&record->storm_ns)[i] = options[i];
	if (offer.scale != COOKIE_NO_SCALE) {
		record->inbound_window_shift = offer.scale;
		record->outbound_window_shift = -COOKIE_ADVERTISED_SCALE;
	}
	record->cookie = packet->ack - 1;
	record->client_acked = packet->ack;
	*word_of(record) = asked.word;
	copy = bpf_map_lookup_elem(&scratch, &zero);
	if (!copy || bpf_map_update_elem(&proofs, &session->entry, copy->bytes, BPF_ANY))
		return COUNT_UP_PROOFS;
	return 0;
}
