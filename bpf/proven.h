/*
 * Proven clients: the packet that returns a right cookie gets a prepared admission, and a SYN to the real server goes on in its
 * place, by way of the rules of the host, as `proxy.synproxy` has it. The packet itself waits until the real server has answered
 * (`join.h`). What is unusual goes up as it is, and is judged by Python.
 */
#pragma once
#include "admission.h"
#include "crafted.h"
#include "strays.h"

/*
 * Makes the checksum of a segment in the scratch area a whole one. It may be that of the pseudo header alone, which the hardware
 * would have finished; its bytes count wherever they are sent from there.
 */
static __always_inline void finish_checksum(struct scratch *copy, const struct packet *packet)
{
	__u32 bytes = packet->total - sizeof(struct iphdr), place = TCP_CHECKSUM - IP_START;
	__u32 pseudo = words_of(bpf_ntohl(packet->source)) + words_of(bpf_ntohl(packet->destination)) + IPPROTO_TCP + bytes;
	__u32 check;

	copy->bytes[place] = copy->bytes[place + 1] = 0;
	check = ~folded(sum_in_scratch(copy, sizeof(struct iphdr), bytes, PROOF_BYTES) + folded(pseudo));
	copy->bytes[place] = check >> 8;
	copy->bytes[place + 1] = check;
}

/*
 * Whether a packet that returns a right cookie is as hosts send it, and can wait here; a cookie remembers no timestamps, so none has
 * options. Then it is in the scratch area, as it is to wait. Returns 0, or the counter of why it goes up.
 */
static __noinline __u32 judge_proof(struct __sk_buff *skb, struct packet *packet)
{
	struct way_out way = {};
	struct scratch *copy;
	__u32 reason = judge_syn(skb, packet, &way);

	if (reason)
		return reason;
	if ((packet->offset_flags & ALL_FLAGS & ~PSH) != ACK || packet->options || packet->total > PROOF_BYTES)
		return COUNT_UP_PROOF;
	copy = copied(skb, IP_START, packet->total);
	if (!copy)
		return COUNT_UP_ROOM;
	finish_checksum(copy, packet);
	return 0;
}

/* The SYN goes on to the real server in the place of the packet. What cannot be rewritten any more is sent again by its client. */
static __noinline int ask_real_server(struct __sk_buff *skb, struct packet *packet, struct session *session)
{
	struct session_record *record = session->record;
	struct crafted *syn = new_crafted();
	struct offer offer = {};
	struct rewrite to = {};
	__u32 window = packet->window;

	if (!syn)
		return TC_ACT_SHOT;
	read_rewrite(session, &to);
	count_carried(packet, session, record->last_seen_ns);
	count(COUNT_PROVEN);
	read_code(session->code, &offer);
	syn->words = offered_options(&offer, syn->options);
	if (offer.scale != COOKIE_NO_SCALE)
		window = shifted(window, offer.scale);
	syn->ip.ttl = TTL_OF_OUR_SEGMENTS;
	syn->ip.frag_off = bpf_htons(DONT_FRAGMENT);
	syn->tcp.seq = bpf_htonl(record->isn);
	syn->tcp.window = bpf_htons(window);
	if (session->settings->toa) {
		count(COUNT_OPTION_ADDED);
		name_client(syn, record, session->settings->toa_kind);
	}
	if (write_over(skb, packet, syn, &to, SYN))
		return TC_ACT_SHOT;
	skb->priority = STEERED;
	return TC_ACT_UNSPEC;
}

/* A client that has returned a cookie takes no place in a backlog any more: `state.latch`. */
static __noinline int count_returned(const struct packet *packet, const struct front_door_key *key)
{
	struct front_door *door = bpf_map_lookup_elem(&front_doors, key);
	struct latch *latch;

	if (!door || door->first_latch == NO_LATCH)
		return 0;
	latch = latch_of(packet, door->first_latch);
	if (latch)
		__sync_fetch_and_add(&latch->cookies, -1);
	return 0;
}

/*
 * Admits the client of a packet that returns a right cookie; `proof` is what `end_stray` said. A function of its own, for its stack:
 * the packet is read anew. When it goes up, so do those behind it: Python asks the real server, and the kernel does not know of it.
 */
static __noinline int admit_proven(struct __sk_buff *skb, struct settings *settings, __u32 proof)
{
	struct packet packet = {};
	struct session session = {.settings = settings, .is_proven = 1, .code = proof & OFFER_MASK};
	struct front_door_key key;
	struct ring *ring;
	__u32 *first, reason;

	if (read_ip(skb, &packet) || read_tcp(skb, &packet))
		return up(COUNT_UP_NO_SESSION);
	key = service_of(&packet);
	first = bpf_map_lookup_elem(&proven, &key);
	reason = first ? judge_proof(skb, &packet) : COUNT_UP_NO_SESSION;
	if (!reason) {
		packet.seq -= 1; /* that of the SYN, by which the session is opened */
		ring = ring_of(&packet, *first, &session);
		reason = ring ? open_session(&packet, ring, &session) : COUNT_UP_EMPTY;
	}
	if (!reason) {
		count_returned(&packet, &key);
		return ask_real_server(skb, &packet, &session);
	}
	know_client(&packet);
	return up(reason);
}
