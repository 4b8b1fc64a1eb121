//! First-hop security: every attack of the catalogue with its evasions, and every legitimate
//! exchange, on every kind of port. An attack is judged by what is delivered and by what changed in
//! anybody's tables; on an unguarded port each must work, otherwise it proves nothing.

mod attack;
mod attacks;
mod evasion;
mod exhaustion;
mod field;
mod ground;
mod judge;
mod lab;
mod legit;
mod scene;
mod shot;
mod state;
mod suite;
mod thc;
mod window;

/// Makes a test on each ground of each claim: a function over a ground and whether bridged frames pass
/// the node's netfilter, or over a lab on it; `segments` leaves out where there is none, `but_chained` the
/// ports of another plugin.
macro_rules! on_each_ground {
    ($over:ident: $($claim:ident),+ $(,)?) => {
        crate::on_each_ground!(but_chained, $over: $($claim),+);
        crate::on_each_ground!(@of chained, Chained, Off, $over: $($claim),+);
    };
    (but_chained, $over:ident: $($claim:ident),+ $(,)?) => {
        crate::on_each_ground!(@segments $over: $($claim),+);
        crate::on_each_ground!(@of bridge_l3, BridgeL3, Off, $over: $($claim),+);
        crate::on_each_ground!(@of layer3, Layer3, Off, $over: $($claim),+);
    };
    (segments, $over:ident: $($claim:ident),+ $(,)?) => {
        crate::on_each_ground!(@segments $over: $($claim),+);
        crate::on_each_ground!(@of chained, Chained, Off, $over: $($claim),+);
    };
    (@segments $over:ident: $($claim:ident),+) => {
        crate::on_each_ground!(@of unguarded, Unguarded, Off, $over: $($claim),+);
        crate::on_each_ground!(@of unguarded_nf_call, Unguarded, On, $over: $($claim),+);
        crate::on_each_ground!(@of switched_off, SwitchedOff, Off, $over: $($claim),+);
        crate::on_each_ground!(@of bridge_l2, BridgeL2, Off, $over: $($claim),+);
        crate::on_each_ground!(@of bridge_l2_nf_call, BridgeL2, On, $over: $($claim),+);
        crate::on_each_ground!(@of shaped, Shaped, Off, $over: $($claim),+);
    };
    (@of $module:ident, $ground:ident, $setting:ident, $over:ident: $($claim:ident),+) => {
        mod $module {
            $(#[test] fn $claim() {
                crate::on_each_ground!(@call $over, $claim, $ground, $setting);
            })+
        }
    };
    (@call ground, $claim:ident, $ground:ident, $setting:ident) => {
        super::$claim(crate::ground::Ground::$ground, netns_fixtures::BridgeNetfilter::$setting);
    };
    (@call lab, $claim:ident, $ground:ident, $setting:ident) => {
        super::$claim(&crate::lab::Lab::new(
            crate::ground::Ground::$ground,
            netns_fixtures::BridgeNetfilter::$setting,
        ));
    };
}
pub(crate) use on_each_ground;
