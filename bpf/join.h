/*
 * The answer of a real server that was asked for a proven client (`proven.h`): both ends are joined, as `proxy.synproxy` does it, and
 * the packet of the client that has waited goes on to the real server, in the place of the answer.
 *
 * Whoever takes that packet out of the map `proofs` goes on with the session: the kernel, or a shard that has to know of it. What is
 * not the usual answer goes up.
 */
#pragma once
#include "crafted.h"
#include "segment.h"

/* Whether a packet is for a session whose real server has not answered, which only an answer moves. */
static __always_inline int is_asked(const struct session *session)
{
	return session->direction == OUTBOUND && session->was.state == TCP_STATE_SYN_SENT && session->was.flags & HAS_COOKIE;
}

/* The shift of windows that an answer names; COOKIE_NO_SCALE when it names none. */
static __noinline __u32 scale_of_answer(struct __sk_buff *skb, const struct packet *packet)
{
	__u64 seen = (__u64)packet->options << 8;
	__u32 scale;

	if (packet->options && !copied(skb, OPTIONS_START, packet->options))
		return COOKIE_NO_SCALE;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i <= MOST_OPTIONS; i++) {
		if (seen & (SEEN_END | SEEN_SCALE))
			break;
		seen = look_at_option(seen);
	}
	scale = seen >> SEEN_SCALE_SHIFT & 0xff;
	if (!(seen & SEEN_SCALE))
		return COOKIE_NO_SCALE;
	return scale > COOKIE_MOST_SCALE ? COOKIE_MOST_SCALE : scale;
}

/* Whether it is the usual answer to the SYN. Returns 0, or the counter of why it goes up. */
static __noinline __u32 judge_usual_answer(struct __sk_buff *skb, struct packet *packet, struct session *session)
{
	if ((packet->offset_flags & ALL_FLAGS) != (SYN | ACK) || packet->ack != session->record->isn + 1 || packet->payload)
		return COUNT_UP_ANSWER;
	if (skb->gso_size)
		return COUNT_UP_ANSWER;
	return is_tcp_sound(skb, packet) ? 0 : COUNT_UP_CHECKSUM;
}

/* The headers of the packet that has waited, in the numbers of the real server. Returns what its words of data add up to. */
static __always_inline __u32 fill_waiting(struct crafted *made, const struct proof *proof, const struct session_record *record,
					  __u32 rs_isn, __u32 window_shift)
{
	const struct iphdr *ip = (const void *)proof->bytes;
	const struct tcphdr *tcp = (const void *)(ip + 1);
	__u32 bytes = bpf_ntohs(ip->tot_len) - sizeof(*ip), sum;

	made->ip = *ip;
	made->tcp = *tcp;
	/* The checksum of the whole is right, so the sum of its data is the complement of that of all else. */
	sum = sum_in_map(&ip->saddr, 8) + IPPROTO_TCP + bytes + sum_in_map(tcp, sizeof(*tcp));
	made->payload = bytes - sizeof(*tcp);
	made->tcp.seq = bpf_htonl(record->isn + 1);
	made->tcp.ack_seq = bpf_htonl(rs_isn + 1);
	made->tcp.window = bpf_htons(shifted(bpf_ntohs(tcp->window), window_shift));
	return 0xffff - folded(sum);
}

/* Writes the data of the packet that has waited behind its headers. */
static __always_inline int write_data(struct __sk_buff *skb, const struct proof *proof, const struct crafted *made)
{
	__u32 last = made->payload - 1;

	if (!made->payload)
		return 0;
	asm volatile("" : "+r"(last));
	if (last >= PROOF_BYTES - PROOF_HEADERS)
		return -1;
	asm volatile("" : "+r"(last));
	return bpf_skb_store_bytes(skb, OPTIONS_START + bytes_of_options(made), proof->bytes + PROOF_HEADERS, last + 1, 0);
}

/* Joins both ends in the record; see `Session.join`. What the SYN was is of no use any more. */
static __always_inline void join_record(struct session *session, const struct packet *answer, __u32 scale, __u32 sent)
{
	struct session_record *record = session->record;
	union state_word is = session->was;
	__u32 delta = answer->seq - record->cookie;

	record->inbound_ack_delta = delta;
	record->outbound_seq_delta = -delta;
	if (record->outbound_window_shift && scale != COOKIE_NO_SCALE) {
		record->outbound_window_shift += scale;
		record->inbound_window_shift = 0;
	}
	record->rs_first_seq = answer->seq + 1;
	record->rs_next_seq = (__u64)answer->seq + 1;
	record->rs_acked = record->isn + 1;
	record->client_next_seq += sent;
	record->last_seen_ns = bpf_ktime_get_ns();
	record->storm_ns = record->storm_options = 0;
	record->storm_seq = record->storm_ack = record->storm_reserved = 0;
	record->storm_window = record->storm_repeats = 0;
	is.state = TCP_STATE_ESTABLISHED;
	is.flags = (is.flags | HAS_ANSWER) & ~IN_FIRST_TABLE;
	__sync_val_compare_and_swap(word_of(record), session->was.word, is.word); /* behind all else */
	set_changed(session->entry);
}

/* Makes the packet that has waited, and sends it. The answer is dropped when a shard has taken that packet: it comes again. */
static __noinline int send_waiting(struct __sk_buff *skb, struct packet *packet, struct session *session, __u32 scale)
{
	struct session_record *record = session->record;
	struct proof *proof = bpf_map_lookup_elem(&proofs, &session->entry);
	struct crafted *made = new_crafted();
	struct rewrite to = {};
	struct way_out way = {};
	__u32 reason, flags;

	if (!proof || !made)
		return up(COUNT_UP_RACE);
	session->direction = INBOUND;
	read_rewrite(session, &to);
	made->payload_sum = fill_waiting(made, proof, record, packet->seq, scale == COOKIE_NO_SCALE ? to.window_shift : 0);
	if (session->settings->toa) {
		if (sizeof(made->ip) + sizeof(made->tcp) + made->payload + CLIENT_OPTION_BYTES > session->real_server->mtu)
			count(COUNT_OPTION_NO_ROOM);
		else
			name_client(made, record, session->settings->toa_kind);
	}
	flags = bpf_ntohs(((__be16 *)&made->tcp)[6]) & ALL_FLAGS;
	packet->tos = made->ip.tos;
	packet->largest = OPTIONS_START - IP_START + bytes_of_options(made) + made->payload;
	reason = find_way(skb, packet, &to, 0, &way);
	if (reason)
		return up(reason);
	if (write_over(skb, packet, made, &to, flags) || write_data(skb, proof, made))
		return TC_ACT_SHOT;
	if (bpf_map_delete_elem(&proofs, &session->entry))
		return TC_ACT_SHOT;
	if (made->has_client)
		count(COUNT_OPTION_ADDED);
	count(COUNT_JOINED);
	join_record(session, packet, scale, made->payload);
	return send(&way);
}

/* A function of its own, for its stack: packet and session are read anew. */
static __noinline int join_ends(struct __sk_buff *skb, struct settings *settings)
{
	struct packet packet = {};
	struct session session = {.settings = settings};
	__u32 reason = read_ip(skb, &packet);

	if (!reason)
		reason = find_session(&packet, &session);
	if (!reason)
		reason = may_carry(skb, &packet, &session);
	if (!reason)
		reason = read_tcp(skb, &packet);
	if (!reason && !is_asked(&session))
		reason = COUNT_UP_RACE;
	if (!reason)
		reason = judge_usual_answer(skb, &packet, &session);
	if (reason)
		return up(reason);
	return send_waiting(skb, &packet, &session, scale_of_answer(skb, &packet));
}
