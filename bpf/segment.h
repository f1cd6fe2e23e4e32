/* A TCP packet of a session: whether it is a normal one, and what it does to its session. One function for each question. */
#pragma once
#include "rewrite.h"
#include "storm.h"

/* How far an acknowledgement may be ahead while a new connection could be behind it: `_REACH_BYTES` of `proxy.synproxy`. */
#define NEW_CONNECTION_REACH (1u << 20)

/* What is found out about a segment before anything of it, or of its session, is changed. */
struct judged {
	union state_word is; /* the word of the session afterwards */
	struct sack sack;
	__u32 event;
	__u32 mss; /* the new MSS in the answer to a SYN, or 0 */
	__u32 longer; /* CLIENT_OPTION_BYTES when the client's address goes in, or 0 */
	__u32 lacks_room; /* whether it should and cannot */
	__u32 is_answer; /* whether it answers the SYN */
	__u32 is_new_ack;
};

/* The highest number that the sender of a packet can acknowledge, in its own numbers. */
static __always_inline __u32 sent_by_other_side(struct session *session, struct rewrite *to)
{
	struct session_record *record = session->record;

	return (__u32)(session->direction ? record->client_next_seq : record->rs_next_seq) - to->ack_delta;
}

/*
 * The answer to the SYN, when it is the usual one: see `nat.opening`, `check_answer`. Its session is not proxied, so there is no
 * window shift, which would not hold for it.
 */
static __always_inline __u32 judge_answer(struct __sk_buff *skb, struct packet *packet, struct session *session,
					  struct judged *judged)
{
	struct session_record *record = session->record;
	__u32 head;

	if (session->was.flags & HAS_COOKIE || packet->flags != (SYN | ACK) || packet->ack != record->isn + 1)
		return COUNT_UP_ANSWER;
	if (packet->payload || skb->gso_size)
		return COUNT_UP_ANSWER;
	if ((__u32)record->client_next_seq != record->client_isn + 1) /* the SYN had data */
		return COUNT_UP_ANSWER;
	if (session->settings->mss_adjust && packet->options) {
		head = word_at(skb, OPTIONS_START);
		if (head >> 16 != MSS_HEAD)
			return COUNT_UP_ANSWER;
		judged->mss = fitting_mss(head & 0xffff, session->real_server->mtu);
	}
	if (!is_tcp_sound(skb, packet))
		return COUNT_UP_CHECKSUM;
	judged->is_answer = 1;
	judged->event = EVENT_SYN;
	judged->is.flags |= HAS_ANSWER;
	return 0;
}

/* Whether a FIN moves its session: see `shard.closing`. All others go up, where somebody remembers those that come too early. */
static __always_inline __u32 judge_fin(struct __sk_buff *skb, struct packet *packet, struct session *session, struct rewrite *to,
				       struct judged *judged)
{
	struct side *sender = side_of(session->record, session->direction);
	struct side *receiver = side_of(session->record, !session->direction);
	__u32 in_flight = packet->seq + to->seq_delta - (__u32)receiver->acked;
	__u32 behind_all = (__u32)sender->next_seq - packet->seq;

	if (skb->gso_size)
		return COUNT_UP_SEGMENTS;
	if (!is_acceptable_ack(sender, sent_by_other_side(session, to), packet->ack))
		return COUNT_UP_NUMBERS;
	if (-in_flight > packet->payload &&
	    (behind_all > packet->payload + is_closing(session->was.state) || in_flight > MOST_IN_FLIGHT))
		return COUNT_UP_NUMBERS;
	if (!is_tcp_sound(skb, packet))
		return COUNT_UP_CHECKSUM;
	judged->event = EVENT_FIN;
	return 0;
}

/* What holds for a client's packet alone. */
static __always_inline __u32 judge_client(struct __sk_buff *skb, struct packet *packet, struct session *session, struct rewrite *to,
					  struct judged *judged)
{
	struct session_record *record = session->record;
	struct settings *settings = session->settings;
	__u32 ahead = packet->ack - (__u32)record->client_acked;
	__u32 state = session->was.state;
	__u32 first_seq = record->rs_first_seq - to->ack_delta;

	if (session->real_server->flags & RS_ASKS_FOR_COOKIES && is_closing(state) &&
	    (state == TCP_STATE_CLOSE || state == TCP_STATE_TIME_WAIT || !judged->is_new_ack || ahead > NEW_CONNECTION_REACH))
		return COUNT_UP_CLOSING;
	if (!(session->was.flags & IS_OPENING))
		return 0;
	if (!(session->was.flags & HAS_ANSWER) || (state == TCP_STATE_SYN_RECV && !judged->is_new_ack))
		return COUNT_UP_NUMBERS;
	if (is_before(first_seq, packet->ack)) {
		judged->is.flags &= ~IS_OPENING;
		return 0;
	}
	if (!settings->toa)
		return 0;
	if (skb->gso_size)
		return COUNT_UP_SEGMENTS;
	/* SACK blocks would have to move twice, and some of them may have no room. All other layouts leave enough. */
	if (judged->sack.edges)
		return COUNT_UP_OPTIONS;
	if (packet->total + CLIENT_OPTION_BYTES > session->real_server->mtu)
		judged->lacks_room = 1;
	else if (packet->total >= SCRATCH_BYTES) /* more than can be moved; only on routes with such an MTU */
		return COUNT_UP_ROOM;
	else
		judged->longer = CLIENT_OPTION_BYTES;
	return 0;
}

/* What holds for a real server's packet alone. */
static __always_inline void judge_real_server(struct packet *packet, struct session *session, struct judged *judged)
{
	judged->is.flags &= ~IN_FIRST_TABLE;
	/* It has acknowledged a byte of the client's, so it has seen the client-address option. */
	if (session->was.flags & IS_OPENING && judged->is_new_ack && is_before(session->record->isn + 1, packet->ack) &&
	    !judged->is_answer)
		judged->is.flags &= ~IS_OPENING;
}

/* Whether several segments in one packet move the session as they would one by one; they do unless they are out of all reach. */
static __always_inline int is_as_single_ones(struct __sk_buff *skb, struct packet *packet, struct session *session)
{
	__u32 next_seq = side_of(session->record, session->direction)->next_seq;
	__u32 first_end = packet->seq + skb->gso_size, end = packet->seq + packet->payload;

	return packet->segments == 1 || first_end - next_seq >= SENT_REACH || end - next_seq < SENT_REACH;
}

/* Judges a segment. Returns 0, or the counter of why it goes up. */
static __always_inline __u32 judge_segment(struct __sk_buff *skb, struct packet *packet, struct session *session,
					   struct rewrite *to, struct judged *judged)
{
	__u32 is_outbound = session->direction == OUTBOUND, reason = 0;

	judged->is = session->was;
	judged->event = EVENT_ACK;
	if (is_outbound && (session->was.flags & (IS_OPENING | HAS_ANSWER)) == IS_OPENING) {
		reason = judge_answer(skb, packet, session, judged);
		if (reason)
			return reason;
	} else {
		if ((packet->flags & (ACK | SYN | RST)) != ACK)
			return COUNT_UP_FLAGS;
		if (!read_options(skb, packet, &judged->sack))
			return COUNT_UP_OPTIONS;
	}
	judged->is_new_ack = is_new_ack(side_of(session->record, session->direction), sent_by_other_side(session, to), packet->ack);
	if (packet->flags & FIN)
		reason = judge_fin(skb, packet, session, to, judged);
	if (!reason && !is_as_single_ones(skb, packet, session))
		reason = COUNT_UP_NUMBERS;
	if (reason)
		return reason;
	if (is_outbound)
		judge_real_server(packet, session, judged);
	else
		reason = judge_client(skb, packet, session, to, judged);
	judged->is.state = next_state(session->was, session->direction, judged->event);
	return reason;
}

/* Notes in the session what the segment says. The words of an answer are those of `check_answer`. */
static __always_inline void note_segment(struct packet *packet, struct session *session, struct judged *judged)
{
	struct session_record *record = session->record;
	__u32 consumes = judged->event != EVENT_ACK;

	if (judged->is_answer)
		record->client_acked = record->rs_next_seq = (__u32)(packet->seq + 1);
	if (judged->is_new_ack)
		note_progress(side_of(record, session->direction), packet, consumes);
	if (judged->is.word != session->was.word)
		set_changed(session->entry);
}

/* Makes room for what goes in, and takes away what lies behind the packet. False when the packet cannot get its size. */
static __always_inline int is_resized(struct __sk_buff *skb, struct packet *packet, __u32 longer)
{
	__u32 size = IP_START + packet->total + longer;

	return skb->len == size || !bpf_skb_change_tail(skb, size, 0);
}
