/*
 * The lane: it carries the packets of sessions that Python has admitted, as `Shard.handle` would, and hands on all else as it is.
 * One program for both directions, at the ingress hook of every interface of the gateway (tc, clsact, direct action).
 *
 * A packet is judged before anything of it or of its session is changed. TC_ACT_UNSPEC lets it go on: to filters of somebody else,
 * then up the stack, and so to Python.
 */
#include "admission.h"
#include "datagrams.h"
#include "front_door.h"
#include "join.h"
#include "proven.h"
#include "repeated.h"
#include "strays.h"

static __always_inline int carry_segment(struct __sk_buff *skb, struct packet *packet, struct session *session, struct rewrite *to)
{
	struct judged judged = {};
	struct way_out way = {};
	__u64 now = bpf_ktime_get_ns();
	__u32 reason, sum = 0;

	reason = read_tcp(skb, packet);
	if (!reason)
		reason = judge_segment(skb, packet, session, to, &judged);
	if (reason)
		return up(reason);
	if (session->was.flags & HAS_COOKIE && session->direction == OUTBOUND &&
	    is_storm(skb, packet, session->record, session->settings, now)) {
		count(COUNT_STORM);
		return TC_ACT_SHOT;
	}
	reason = find_way(skb, packet, to, judged.longer, &way);
	if (reason)
		return up(reason);
	if (!is_resized(skb, packet, judged.longer))
		return up(COUNT_UP_ROOM);
	if (judged.is_answer)
		session->record->rs_first_seq = packet->seq + 1;
	if (!moved(session->record, session->was, judged.is))
		return up(COUNT_UP_RACE);
	note_segment(packet, session, &judged);
	count_carried(packet, session, now);
	if (is_over(judged.is.state) && is_done(session->record))
		get_in_line(session->record, session->entry);
	if (judged.lacks_room)
		count(COUNT_OPTION_NO_ROOM);
	if (judged.sack.edges && to->ack_delta && shift_sack(skb, &judged.sack, to->ack_delta, &sum))
		return TC_ACT_SHOT;
	if (judged.longer) {
		count(COUNT_OPTION_ADDED);
		if (insert_client_option(skb, packet, session->settings->toa_kind, &sum))
			return TC_ACT_SHOT;
	}
	if (rewrite_tcp(skb, packet, to, judged.longer, judged.mss, sum, 1))
		return TC_ACT_SHOT;
	return send(&way);
}

static __always_inline int carry_datagram(struct __sk_buff *skb, struct packet *packet, struct session *session, struct rewrite *to)
{
	struct way_out way = {};
	__u32 reason = read_udp(skb, packet);

	if (!reason)
		reason = find_way(skb, packet, to, 0, &way);
	if (reason)
		return up(reason);
	if (!is_resized(skb, packet, 0))
		return up(COUNT_UP_ROOM);
	count_carried(packet, session, bpf_ktime_get_ns());
	return rewrite_udp(skb, packet, to) ? TC_ACT_SHOT : send(&way);
}

/* A packet goes up; when it is a client's of a session, more of them may have to. */
static __always_inline int up_with_flow(const struct packet *packet, const struct session *session, __u32 reason)
{
	know_client_of(packet, session);
	return up(reason);
}

/* In the place of a verdict: no session of the lane has the flow of this packet of TCP, or of UDP. */
#define NO_FLOW 0x100
#define NO_DATAGRAM_FLOW 0x104

/* In the place of a verdict: a packet of a real server that was asked for a proven client. */
#define MAY_JOIN 0x105

/* In the place of a verdict: a SYN of a client whose session is over, and whose endpoint rests. */
#define COMES_AGAIN 0x107

/* What becomes of a packet of a session. A function of its own, for its stack. */
static __noinline int carry(struct __sk_buff *skb, struct settings *settings)
{
	struct packet packet = {};
	struct session session = {.settings = settings};
	struct rewrite to = {};
	__u32 reason = read_ip(skb, &packet);
	int verdict;

	if (!reason)
		reason = find_session(&packet, &session);
	if (reason == COUNT_UP_NO_SESSION && !session.has_flow && packet.protocol == IPPROTO_TCP)
		return NO_FLOW;
	if (reason == COUNT_UP_NO_SESSION && !session.has_flow && packet.protocol == IPPROTO_UDP)
		return NO_DATAGRAM_FLOW;
	if (!reason)
		reason = may_carry(skb, &packet, &session);
	if (reason == COUNT_UP_NO_SESSION && is_one_too_many(skb, &packet, &session)) { /* of one that Python opens: `FIRST_RESERVATION` */
		count(COUNT_SYN_AGAIN);
		return TC_ACT_SHOT;
	}
	if (reason == COUNT_UP_HELD && is_new_connection(skb, &packet, &session))
		return COMES_AGAIN;
	if (reason)
		return up_with_flow(&packet, &session, reason);
	if (session.was.state == TCP_STATE_SYN_RECV && is_one_too_many(skb, &packet, &session)) {
		count(COUNT_SYN_AGAIN);
		return TC_ACT_SHOT;
	}
	if (is_asked(&session))
		return MAY_JOIN;
	read_rewrite(&session, &to);
	if (packet.protocol == IPPROTO_UDP)
		return carry_datagram(skb, &packet, &session, &to);
	verdict = carry_segment(skb, &packet, &session, &to);
	if (verdict == TC_ACT_UNSPEC)
		know_client_of(&packet, &session);
	return verdict;
}

SEC("tc")
int lane(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct settings *how = bpf_map_lookup_elem(&settings, &zero);
	int verdict;

	if (!how || !how->is_open)
		return up(COUNT_UP_CLOSED);
	verdict = carry(skb, how);
	if (verdict == NO_DATAGRAM_FLOW)
		return end_datagram(skb, how);
	if (verdict == MAY_JOIN)
		return join_ends(skb, how);
	if (verdict == NO_FLOW)
		verdict = open_front_door(skb);
	if (verdict == OPENS_NOTHING) {
		verdict = end_stray(skb);
		return IS_PROOF(verdict) ? admit_proven(skb, how, verdict) : verdict;
	}
	if (verdict == NO_DOOR || verdict == COMES_AGAIN)
		return open_by_ticket(skb, how, verdict == COMES_AGAIN);
	return verdict;
}

/* Helpers that change packets are for programs under this licence alone. */
char _license[] SEC("license") = "GPL";

/* Whoever loads the program looks for it in the file: `edge/lane_object.py`. */
char _layout[] SEC("layout") = PROGRAM_LAYOUT;
