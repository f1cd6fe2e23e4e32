/*
 * A SYN on a session that is half-open goes up: its client may send it again, or begin anew. While a service is flooded, that would be a
 * way past the front door for whoever has half-open sessions there. So while clients of the service get cookies, no more of such SYNs
 * go up than its clients would send again; all others end here. So do those of a client whose flow is reserved, because Python opens its session.
 */
#pragma once
#include "front_door.h"
#include "strays.h"

/* Whether a packet of a session that is half-open is one too many of such SYNs. */
static __noinline int is_one_too_many(struct __sk_buff *skb, struct packet *packet, const struct session *session)
{
	struct stray_budget *budget;

	if (session->direction != INBOUND || !is_syn(skb, packet) || !gets_cookie(skb, packet))
		return 0;
	budget = budget_of_window();
	if (!budget)
		return 0;
	budget->spent_on_syns += 1;
	return budget->spent_on_syns > SYNS_AGAIN_ALLOWED;
}
