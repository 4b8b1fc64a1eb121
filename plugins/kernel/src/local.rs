//! Which addresses are a namespace's own.

use std::net::IpAddr;

use crate::error::NetlinkError;
use crate::place::{Place, PlaceError};
use crate::request::get_route;

/// Whether a packet to the address would be delivered here, as the routing tables see it. What has no
/// route or is refused one is somebody else's.
pub(crate) fn is_local(place: &mut Place, address: IpAddr) -> Result<bool, PlaceError> {
    /// `rtm_type` in `struct rtmsg`, and its value for the own addresses (`linux/rtnetlink.h`).
    const RTM_TYPE: usize = 7;
    const RTN_LOCAL: u8 = 2;
    match place.route()?.get(get_route(address)) {
        Ok(answer) => {
            Ok(answer.is_some_and(|message| message.body.get(RTM_TYPE) == Some(&RTN_LOCAL)))
        }
        Err(NetlinkError::Refused(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
